"""Saving and loading optimizers, and the zoo that comes with l2o."""
