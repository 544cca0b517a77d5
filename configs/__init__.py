"""Experiments, one file each; `common` holds shared code."""
