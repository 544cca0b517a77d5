"""Workdirs as runs leave them, made without running anything."""

import copy
import functools
import json
import pathlib
import shutil

import numpy as np

from configs import common, hub_function, l3rs_resnet20
from l2o.artifacts.artifact import ZOO
from reports import families, records, results

RECORDS = pathlib.Path('docs/results/records/l3rs_resnet20_seed0.csv.gz')
VERSION = {'git': 'abc123', 'python': '3.11.7', 'platform': 'Linux', 'packages': {'jax': '0.10.2'}}
TIME = {'start': 0, 'stop': 180, 'seconds': 812.5, 'devices': '1 NVIDIA H100'}


def begun(folder, config):
  """What stands in a workdir before anything is computed."""
  folder.mkdir(parents=True)
  (folder / 'config.json').write_text(json.dumps(common.freeze(config)))
  (folder / 'diff.txt').write_text('seed: 0 -> 1\n')
  (folder / 'versions.json').write_text(json.dumps([VERSION]))
  return folder


def log(folder, rows):
  folder.mkdir(exist_ok=True)
  (folder / 'metrics.jsonl').write_text('\n'.join(map(json.dumps, rows)))


def generations(count):
  rng = np.random.default_rng(0)
  return [
    {'step': g, 'loss': 2 / g, 'accuracy': rng.uniform(0.2, 0.7), 'num_steps': 10 * (g % 9 + 1)}
    for g in range(1, count + 1)
  ]


@functools.cache
def _large_rows():
  found, _ = families.gather([RECORDS])
  return found, results.summarize(found, families.SAMPLES, seed=0)


def large_rows():
  """Records of 42 families, and their rows, which the caller may change."""
  return copy.deepcopy(_large_rows())


def pipeline(folder, num_layers=60, num_steps=50):
  """A finished one with 42 families, 180 generations and a trace of a ResNet-20's layers."""
  begun(folder, l3rs_resnet20.get_config())
  log(folder / 'meta_train', generations(180))
  (folder / 'meta_train' / 'times.json').write_text(json.dumps([TIME]))
  rng = np.random.default_rng(1)
  sgd = rng.uniform(0.2, 0.9, (2, num_steps, num_layers))
  layers = np.array([f'stage1_block{n}/conv/kernel' for n in range(num_layers)])
  trace = {'mu/sgd': sgd, 'mu/adam': 1 - sgd, 'lambda': 0.1 * sgd, 'layers': layers}
  (folder / 'meta_evaluate').mkdir()
  np.savez(folder / 'meta_evaluate' / 'trace.npz', **trace)
  shutil.copy(ZOO / 'l3rs-resnet20.safetensors', folder / 'optimizer.safetensors')
  found, rows = large_rows()
  (folder / 'records.csv.gz').write_bytes(records.pack(found))
  (folder / 'results.json').write_text(json.dumps(rows))
  return folder


def job(folder, config=None, rule=None, losses=(4.0, 1.5, 2.5), ended=True, seed=0, **logged):
  """A training job of three logged steps; `logged`: a further measure -> its values."""
  c = config or hub_function.get_config('smoke')
  with c.unlocked():
    c.sweep, c.rule = (), rule or c.rule
    c.train.num_steps, c.seed = 3, seed
  begun(folder, c)
  rows = [
    {'step': k, 'loss': x, 'eval_loss': x + 0.25, 'x_1': x, 'x_2': -x}
    | {name: values[k - 1] for name, values in logged.items()}
    for k, x in enumerate(losses, 1)
  ]
  log(folder / 'train', rows)
  if ended:
    known = np.isfinite(losses).any()
    at = int(np.nanargmin(losses)) if known else 0
    found = {
      'final': {'step': 3, 'eval_loss': losses[-1] + 0.25},
      'best': {'step': at + 1, 'loss': losses[at] + 0.25} if known else None,
      'test': None,
      'restarts': 0,
    }
    known = {'optimizer': c.rule['name'], 'hand_designed': rule is None, 'seed': seed}
    (folder / 'records.csv.gz').write_bytes(records.pack(records.of_job(rows, found, **known)))
    (folder / 'results.json').write_text(json.dumps(found))
  return folder
