"""The progress of a run, from what its stages have logged."""

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from reports import results, workdir
from reports.workdir import Workdir


class Stage(NamedTuple):
  """A stage of a run."""

  name: str  # the folder's name
  unit: str
  done: int  # as far as logged
  total: int
  times: list[Mapping[str, Any]]  # of each start: steps, seconds and devices


def stages(run: Workdir) -> list[Stage]:
  """The stages of a run that is not a sweep, in their order."""
  config = run.config
  if run.is_job:
    return [_stage(run.path, 'train', 'step', config['train']['num_steps'])]
  found = []
  for start, spec in config['pretrain']['starts'].items():
    if not spec.get('weights'):
      name = 'pretrain' if start == config['meta_train']['start'] else f'pretrain_{start}'
      found.append(_stage(run.path, name, 'step', config['pretrain']['num_steps']))
  generations = config['meta_train']['num_generations']
  found.append(_stage(run.path, 'meta_train', 'generation', generations))
  spec = config['meta_evaluate']
  rows = len(spec['experiments']) * (1 + len(spec['baselines'])) * len(spec['num_steps'])
  return [*found, _stage(run.path, 'meta_evaluate', 'row', rows)]


def said(run: Workdir) -> str:
  """What an unfinished run is doing, in one sentence; '' for a finished one."""
  if run.results is not None:
    return ''
  if run.is_sweep:
    return f'Unfinished: {_of_sweep(run)}.'
  return f'Unfinished: {where(run)}.'


def where(run: Workdir) -> str:
  """The stage that a run is in."""
  for stage in stages(run):
    if stage.done < stage.total:
      return f'{stage.name}, {stage.unit} {stage.done} of {stage.total}'
  return 'all stages have ended, but results.json is not written'


def _of_sweep(run: Workdir) -> str:
  inner = [workdir.load(path) for seeds in run.seeds.values() for path in seeds.values()]
  ended = sum(one.results is not None for one in inner)
  rows = len(run.config['sweep']) + len(run.config['first'])
  total = max(rows * len(run.config['sweep_seeds']), len(inner))
  begun = [
    f'{one.path.parent.name}, seed {one.config["seed"]}: {where(one)}'
    for one in inner
    if one.results is None
  ]
  return '; '.join([f'{ended} of at most {total} runs have ended', *begun])


def _stage(path: pathlib.Path, name: str, unit: str, total: int) -> Stage:
  logged = results.read_lines(path / name / workdir.METRICS)
  times = _times(path / name / workdir.TIMES)
  done = max([0, *(row['step'] for row in logged), *(time['stop'] for time in times)])
  return Stage(name, unit, min(done, total), total, times)


def _times(path: pathlib.Path) -> list[Mapping[str, Any]]:
  if not path.is_file():
    return []
  found = workdir.read(path)
  keys = {'start', 'stop', 'seconds', 'devices'}
  return [one for one in found if isinstance(one, dict) and keys <= one.keys()]
