"""Checks that run before anything is computed."""
