"""The manifest of a checkpoint: a digest of every leaf, computed while the run goes on.

File formats detect a truncated file, but a single flipped bit would silently be read as a different
number. A digest covers the whole leaf, however it is spread over devices and processes, so it also
holds on a different mesh.
"""

import dataclasses
import functools
import hashlib
import json
import pathlib
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.sharding import NamedSharding, PartitionSpec

from l2o.types import PyTree

STEP = '(step)'  # stored with the leaves, in case a folder was renamed
FILE = 'metadata'  # its name in the manifest's folder


class ManifestHandler(ocp.AsyncCheckpointHandler):
  """Writes the manifest in the background, in process 0."""

  async def async_save(self, directory: Any, args: 'ManifestSave') -> Any:
    if jax.process_index() != 0:
      return []
    written = _write(directory / FILE, args)
    return [ocp.future.CommitFutureAwaitingContractedSignals(written, name='manifest')]

  def save(self, *arguments: Any, **keywords: Any) -> None:
    raise NotImplementedError('manifests are saved in the background')

  def restore(self, *arguments: Any, **keywords: Any) -> None:
    raise NotImplementedError('manifests are read by `read`')


@ocp.args.register_with_handler(ManifestHandler, for_save=True, for_restore=True)
@dataclasses.dataclass
class ManifestSave(ocp.args.CheckpointArgs):
  """What a manifest is made of.

  Attributes:
    leaves: path -> the whole leaf, see `whole`.
    step: the checkpoint's number.
  """

  leaves: dict[str, Any]
  step: int


async def _write(path: Any, args: ManifestSave) -> None:
  content = {**digests(args.leaves), STEP: args.step}
  path.write_text(json.dumps(content))


def read(folder: pathlib.Path) -> dict[str, Any]:
  """The content of a manifest's folder."""
  return json.loads((folder / FILE).read_text())


def named(tree: PyTree) -> dict[str, Any]:
  """Path -> leaf; fields, keys and positions are all written the same way, as in Orbax."""
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {jax.tree_util.keystr(path, simple=True, separator='/'): x for path, x in leaves}


def digests(leaves: dict[str, Any]) -> dict[str, str]:
  """Path -> SHA-256 of the leaf's bytes; empties `leaves`, to free each leaf once it is hashed."""
  found = {}
  for name in list(leaves):
    found[name] = _digest(np.asarray(leaves.pop(name)))
  return found


def _digest(array: np.ndarray) -> str:
  # Viewed as bytes: making a copy would hold the interpreter's lock, and so delay the run.
  return hashlib.sha256(np.ascontiguousarray(array).reshape(-1).view(np.uint8)).hexdigest()


def whole(tree: PyTree) -> dict[str, Any]:
  """Path -> the whole leaf, gathered if this process holds only part of it.

  The gathers are dispatched here, by the main thread, since all processes must order collectives
  alike. Waiting for each before the next would limit their memory to one leaf, but delay the run:
  instead, each device holds all gathered leaves until they are hashed.
  """
  return {name: _gathered(x) for name, x in named(tree).items()}


def _gathered(x: Any) -> Any:
  if not isinstance(x, jax.Array) or x.is_fully_addressable or x.is_fully_replicated:
    return x
  return _gather(NamedSharding(x.sharding.mesh, PartitionSpec()))(x)


@functools.cache
def _gather(sharding: NamedSharding) -> Any:
  """A compiled identity: `device_get` refuses arrays that other processes hold."""
  return jax.jit(lambda x: x, out_shardings=sharding)
