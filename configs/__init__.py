"""Experiments, one page each; `common` holds what they share."""
