"""Saving and loading optimizers, and the zoo that comes with l2o."""

from l2o.artifacts.artifact import Artifact, load, read, save, zoo

__all__ = ['Artifact', 'load', 'read', 'save', 'zoo']
