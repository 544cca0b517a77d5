"""Checks of a config's block `meta_evaluate`, beyond the type of each key."""

from collections.abc import Sequence

from l2o.errors import InputError
from l2o.inner.mapping import on_device
from l2o.registry import choose
from reports import results
from trainers.checks import blocks


def check(spec: blocks.MetaEvaluate) -> None:
  """Checks the settings that all rows and experiments share. Raises InputError."""
  horizons = spec.num_steps
  if not horizons or len(set(horizons)) < len(horizons):
    raise InputError(
      f'meta_evaluate.num_steps must list at least one horizon, and each only once, not {horizons}'
    )
  if 0 < spec.draw_steps < max(horizons):
    raise InputError(
      f'meta_evaluate.draw_steps must be 0 or at least the longest of num_steps, {max(horizons)}, '
      f'not {spec.draw_steps}'
    )
  on_device(spec.mapping)
  on_device(spec.setting_mapping)
  for key in ('experiments', 'baselines'):
    if not getattr(spec, key):
      raise InputError(f'meta_evaluate.{key} must name at least one')
    blocks.check_names(getattr(spec, key), f'one of meta_evaluate.{key}')


def check_paper(spec: blocks.MetaEvaluate, names: Sequence[str]) -> None:
  """Checks the paper's numbers against the rows of the table, `names`. Raises InputError."""
  for experiment, rows in spec.paper.items():
    choose(experiment, spec.experiments, 'experiment of meta_evaluate.paper')
    for optimizer, accuracies in rows.items():
      if results.identity(optimizer) not in map(results.identity, names):
        choose(optimizer, names, f'optimizer of meta_evaluate.paper.{experiment}')
      if len(accuracies) != len(spec.num_steps):
        raise InputError(
          f'meta_evaluate.paper.{experiment}.{optimizer} must have an accuracy for each of the '
          f'{len(spec.num_steps)} num_steps, not {len(accuracies)}'
        )
