"""Checkpoints of a stage."""

from checkpoints.manager import Checkpoints

__all__ = ['Checkpoints']
