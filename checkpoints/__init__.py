"""Checkpoints of a stage of a run."""

from checkpoints.manager import Checkpoints

__all__ = ['Checkpoints']
