"""The table of a meta-evaluation's measurements: arrays on the device, then records."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from l2o.types import Metrics
from reports import records
from reports.records import MEASURES, TUNING
from trainers.stages.rows import Row

CHOSEN = 'chosen'  # the number of the setting that tuning chose
Table = dict[str, jax.Array]  # measure -> [items, tasks, settings]; CHOSEN -> [items]


def empty(items: int, tasks: int, tuning_tasks: int, settings: int) -> dict[str, np.ndarray]:
  """A table of measurements, NaN until known.

  Args:
    items: the number of rows.
    tasks: the number of tasks to report on.
    tuning_tasks: how many to choose settings on; 0 for none, and no columns for them.
    settings: the most settings that an optimizer has.
  """

  def nans(tasks: int) -> np.ndarray:
    return np.full((items, tasks, settings), np.nan, np.float32)

  table = {name: nans(tasks) for name in MEASURES}
  if tuning_tasks:
    table |= {f'{TUNING}/{name}': nans(tuning_tasks) for name in MEASURES}
    table[CHOSEN] = np.zeros(items, np.int32)
  return table


@jax.jit
def of_tuning(metrics: Metrics) -> Metrics:
  """A grid's entries [tuning tasks, settings], and the setting with the highest mean accuracy."""
  chosen = jnp.argmax(jnp.mean(metrics['accuracy'], axis=0)).astype(jnp.int32)
  return {f'{TUNING}/{name}': metrics[name] for name in MEASURES} | {CHOSEN: chosen}


@partial(jax.jit, donate_argnums=0)
def enter(table: Table, number: jax.Array, found: Metrics) -> Table:
  """Enters the measurements of item `number` [] into the table; other entries stay."""
  return {
    name: jax.lax.dynamic_update_slice(
      column, found[name][None], (number, *[0] * (column.ndim - 1))
    )
    if name in found
    else column
    for name, column in table.items()
  }


def records_of(item: Mapping[str, np.ndarray], row: Row, tuned: bool, **known: Any) -> pd.DataFrame:
  """The records of one item of the table.

  Args:
    item: measure -> [tasks, settings].
    row: the optimizer that was measured.
    tuned: whether its setting was chosen on tuning tasks.
    **known: experiment, source, seed and K.
  """
  known |= {'optimizer': row.family, 'hand_designed': row.hand_designed}
  settings = row.settings
  parts = []
  if tuned:
    names = [f'{TUNING}/{name}' for name in MEASURES]
    found = {name: item[name][:, : len(settings)] for name in names}
    parts.append(records.of_tasks(found, settings, **known))
    settings = [settings[int(item[CHOSEN])]]
  found = {name: item[name][:, : len(settings)] for name in MEASURES}
  return pd.concat([*parts, records.of_tasks(found, settings, **known)], ignore_index=True)
