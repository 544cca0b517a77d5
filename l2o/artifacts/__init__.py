"""Optimizers in files, and those that come with l2o."""

from l2o.artifacts.artifact import Artifact, load, read, save, zoo

__all__ = ['Artifact', 'load', 'read', 'save', 'zoo']
