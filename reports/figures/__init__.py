"""The figures of a run: functions from data to a matplotlib Figure, all in one style."""

from reports.figures.evaluation import accuracy_against_steps, speedup_curve
from reports.figures.meta_training import meta_training_curve
from reports.figures.mixture import mixture_against_step

__all__ = [
  'accuracy_against_steps',
  'meta_training_curve',
  'mixture_against_step',
  'speedup_curve',
]
