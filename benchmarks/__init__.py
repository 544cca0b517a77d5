"""Measurements, run by hand and printed as ratios."""
