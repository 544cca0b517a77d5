"""HUB's weightings: the hand-designed optimizer's share of each entry's step.

A weighting is a function of the gradients. It returns a tree of float32 weights in [0, 1], shaped
like the gradients or one number per layer; the learned optimizer gets the rest. A layer is one leaf
of the parameters.

Source: "HUB: Enhancing Learned Optimizers via Hybrid Update-based Strategy", arXiv 2305.16823.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from l2o.arguments import checked
from l2o.errors import InputError
from l2o.registry import build
from l2o.trees import layer_paths
from l2o.types import PyTree

Weighting = Callable[[PyTree], PyTree]  # gradients -> weights of the hand-designed side

WEIGHTINGS = {
  'block_wise': 'l2o.rules.hub.weightings:block_wise',
  'clipping': 'l2o.rules.hub.weightings:clipping',
  'inverted': 'l2o.rules.hub.weightings:inverted',
  'vanilla': 'l2o.rules.hub.weightings:vanilla',
}


def weighting(spec: str | Mapping[str, Any] | Weighting) -> Weighting:
  """Builds a weighting from its name, or from a config's block; a function is returned unchanged.

  Args:
    spec: a name, `{'name': …, **arguments}`, or a function of the gradients.

  Raises:
    InputError: no such weighting, or an argument it does not take; the message lists the choices.

  Example:
    >>> weighting({'name': 'clipping', 'low': 0.1, 'high': 0.5})({'w': jnp.zeros(20)})['w'][0]
    Array(0.1, dtype=float32)
  """
  if isinstance(spec, str):
    spec = {'name': spec}
  if callable(spec):
    return spec
  return build(WEIGHTINGS, spec, 'weighting')


def gradient_softmax(grads: PyTree) -> PyTree:
  """Softmax of the absolute gradient over each layer.

      sigma(g_l)_i = exp |g_i| / sum_{j in l} exp |g_j|

  The weights of a layer sum to one. A layer of one entry has weight 1. In a wide layer whose
  gradients are well below 1, as they usually are, every weight is close to 1 / n.

  Args:
    grads: leaves of any shape and float dtype. A layer with non-finite entries has no softmax; it
      gets 1 / n everywhere, as if its gradients were equal.

  Returns:
    float32 leaves of the same shapes.

  Example:
    >>> weights = gradient_softmax({'w': jnp.log(jnp.array([3.0, 1.0]))})
    >>> [round(w, 3) for w in weights['w'].tolist()]
    [0.75, 0.25]
  """

  def layer(grad: jax.Array) -> jax.Array:
    size = jnp.abs(grad.astype(jnp.float32))
    if not size.size:
      return size
    # jax.nn.softmax subtracts the maximum, so that a gradient of 1e4 does not overflow.
    return jax.nn.softmax(jnp.where(jnp.all(jnp.isfinite(size)), size, 0.0), axis=None)

  return jax.tree.map(layer, grads)


def vanilla() -> Weighting:
  """w = sigma(g): nearly all to the learned optimizer; meant for training from scratch.

  Example:
    >>> vanilla()({'w': jnp.zeros(4)})
    {'w': Array([0.25, 0.25, 0.25, 0.25], dtype=float32)}
  """
  return gradient_softmax


def inverted() -> Weighting:
  """w = 1 - sigma(g): nearly all to the hand-designed optimizer; meant for fine-tuning.

  Example:
    >>> inverted()({'w': jnp.zeros(4)})
    {'w': Array([0.75, 0.75, 0.75, 0.75], dtype=float32)}
  """
  return lambda grads: jax.tree.map(lambda sigma: 1.0 - sigma, gradient_softmax(grads))


@checked
def clipping(low: float, high: float) -> Weighting:
  """w = clip(sigma(g), low, high): keeps both optimizers in very wide layers, where sigma → 0.

  Args:
    low: the paper's B, the smallest weight of the hand-designed optimizer.
    high: the paper's A, its largest; 0 <= low <= high <= 1.

  Raises:
    InputError: bounds that are not in this order.

  Example:
    >>> clipping(low=0.3, high=0.5)({'bias': jnp.zeros(()), 'w': jnp.zeros(100)})['bias']
    Array(0.5, dtype=float32)
  """
  if not 0 <= low <= high <= 1:
    raise InputError(f'clipping needs 0 <= low <= high <= 1, not low={low}, high={high}')
  return lambda grads: jax.tree.map(
    lambda sigma: jnp.clip(sigma, low, high), gradient_softmax(grads)
  )


def block_wise(
  new: str | Callable[[str], bool] = 'head',
  pretrained_weighting: str | Mapping[str, Any] | Weighting = 'inverted',
  new_weighting: str | Mapping[str, Any] | Weighting = 'vanilla',
) -> Weighting:
  """One weighting for pretrained blocks, another for new ones; meant for a new head.

  The default leans on the hand-designed optimizer in pretrained blocks and on the learned one in
  the new head, as the paper's text says; its equations (14) and (15) print the opposite, which is
  `block_wise(pretrained_weighting='vanilla', new_weighting='inverted')`.

  Args:
    new: which layers are new: the name of a module anywhere in a path, or a predicate on the path,
      such as 'head/kernel'.
    pretrained_weighting: for the layers that are not new. For more than two kinds of block,
      nest a `block_wise` here.
    new_weighting: for the layers that are.

  Raises:
    InputError: as in `weighting`; when called, if no layer is new, since a misspelt name would
      otherwise pass unnoticed.

  Example:
    >>> grads = {'stem': jnp.zeros(4), 'head': {'bias': jnp.zeros(4)}}
    >>> weights = block_wise()(grads)
    >>> float(weights['stem'][0]), float(weights['head']['bias'][0])
    (0.75, 0.25)
  """
  is_new = (lambda path: new in path.split('/')) if isinstance(new, str) else new
  pretrained, fresh = weighting(pretrained_weighting), weighting(new_weighting)

  def weights(grads: PyTree) -> PyTree:
    paths = layer_paths(grads)
    chosen = [is_new(path) for path in paths]
    if paths and not any(chosen):
      raise InputError(f'block_wise found no new block {new!r} among {", ".join(paths)}')
    both = zip(jax.tree.leaves(fresh(grads)), jax.tree.leaves(pretrained(grads)), strict=True)
    leaves = [f if c else p for c, (f, p) in zip(chosen, both, strict=True)]
    return jax.tree.unflatten(jax.tree.structure(grads), leaves)

  return weights
