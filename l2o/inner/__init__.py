"""The inner loop: one step, a rollout of K steps, and strategies for mapping over rollouts."""

from typing import TYPE_CHECKING

from l2o.submodules import lookup

if not TYPE_CHECKING:  # as in l2o itself
  __getattr__ = lookup(__name__)
