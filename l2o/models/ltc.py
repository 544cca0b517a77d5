"""Liquid time-constant networks: neurons that are leaky capacitors, wired sparsely.

Neuron j has a potential v_j, a capacitance c_j, a leak of conductance g_j towards V_j, and synapses
i → j with sigmoidal conductance w_ij s_ij towards E_ij, s_ij = sigmoid(sigma_ij (v_i - mu_ij)):

    c_j dv_j/dt = g_j (V_j - v_j) + sum_i w_ij s_ij (E_ij - v_j)

The sum runs over neurons and inputs. A step of the sequence lasts one unit of time and is solved in
`unfolds` implicit steps, with s at the old potentials and everything else at the new ones, which
stays bounded however stiff the equation is:

    v_j ← (C_j v_j + g_j V_j + sum_i w_ij s_ij E_ij) / (C_j + g_j + sum_i w_ij s_ij),
    C_j = c_j * unfolds

Capacitances and conductances (cm, gleak, w) are the softplus of the parameters of those names, so
they stay positive whatever an optimizer does.

Source: Hasani et al., "Liquid Time-constant Networks", arXiv 2006.04439; the wiring is that of
Lechner et al., "Neural circuit policies enabling auditable autonomy", 2020.
"""

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from l2o.arguments import Count, Range, Whole
from l2o.errors import InputError
from l2o.optional import require

EPSILON = 1e-8  # keeps a neuron without leak or synapse from dividing zero by zero
# Ranges of the uniform initialisation, from the authors' released code.
RANGES = {'gleak': (0.001, 1.0), 'vleak': (-0.2, 0.2), 'cm': (0.4, 0.6)}
SYNAPSE_RANGES = {'w': (0.001, 1.0), 'mu': (0.3, 0.8), 'sigma': (3.0, 8.0)}


class Wiring(NamedTuple):
  """Which synapses exist: 0 for none, 1 for an excitatory, -1 for an inhibitory one."""

  neurons: np.ndarray  # [units, units], from i to j
  inputs: np.ndarray  # [inputs, units]


def ncp_wiring(
  inputs: int, units: int, outputs: int, sparsity_level: float = 0.5, seed: int = 22222
) -> Wiring:
  """A neural circuit policy: inputs → inter → command → motor neurons, sparse between the layers.

  Args:
    inputs: features of the input.
    units: neurons in all.
    outputs: motor neurons, the first of the state; at most units - 3.
    sparsity_level: fraction of the synapses left out, 0.1 to 0.9.
    seed: seed of the random choice of synapses.

  Raises:
    InputError: `ncps` is not installed, or it cannot make such a wiring.

  Example:
    >>> ncp_wiring(inputs=3, units=8, outputs=1).inputs.shape
    (3, 8)
  """
  wirings = require('ncps.wirings')
  try:
    wiring = wirings.AutoNCP(units, outputs, sparsity_level=sparsity_level, seed=seed)
    wiring.build(inputs)
  except ValueError as error:
    raise InputError(f'no wiring of {units} neurons with {outputs} outputs: {error}') from error
  return Wiring(np.asarray(wiring.adjacency_matrix), np.asarray(wiring.sensory_adjacency_matrix))


def ltc_step(
  params: Mapping[str, Any], wiring: Wiring, v: jax.Array, inputs: jax.Array, unfolds: int = 6
) -> jax.Array:
  """One unit of time; the formula is in the module's docstring.

  Args:
    params: parameters of an `LTC`.
    wiring: which synapses exist; entries of zero are none.
    v: [B, units] potentials.
    inputs: [B, inputs].
    unfolds: implicit steps.

  Returns:
    [B, units], the new potentials.

  Example:
    >>> inputs = jnp.zeros((2, 3))
    >>> params = LTC(num_outputs=1).init(jax.random.key(0), inputs[:, None], train=False)['params']
    >>> ltc_step(params, ncp_wiring(3, 8, 1), jnp.zeros((2, 8)), inputs).shape
    (2, 8)
  """
  names = ('w', 'mu', 'sigma', 'erev')
  recurrent = [params[name] for name in names]
  sensory = [params[f'sensory_{name}'] for name in names]
  inputs = params['input_w'][None] * inputs + params['input_b'][None]
  input_current, input_conductance = _synapses(sensory, wiring.inputs, inputs)
  capacity = jax.nn.softplus(params['cm'])[None] * unfolds
  leak, rest = jax.nn.softplus(params['gleak'])[None], params['vleak'][None]
  for _ in range(unfolds):
    current, conductance = _synapses(recurrent, wiring.neurons, v)
    pull = capacity * v + leak * rest + current + input_current
    v = pull / (capacity + leak + conductance + input_conductance + EPSILON)
  return v


def _synapses(
  params: list[jax.Array], adjacency: np.ndarray, v: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """sum_i w_ij s_ij E_ij and sum_i w_ij s_ij: [B, units] each."""
  w, mu, sigma, erev = (p[None] for p in params)
  present = (adjacency != 0).astype(np.float32)[None]
  conductance = jax.nn.softplus(w) * present * jax.nn.sigmoid(sigma * (v[:, :, None] - mu))
  return jnp.sum(conductance * erev, axis=1), jnp.sum(conductance, axis=1)


class LTC(nn.Module):
  """A liquid time-constant layer, wired as a neural circuit policy, with affine inputs and outputs.

  Attributes:
    num_outputs: motor neurons, numbers predicted at each step.
    units: neurons in all.
    sparsity_level: fraction of the synapses left out.
    wiring_seed: seed of the random wiring.
    unfolds: implicit steps in a step of the sequence.

  Raises:
    InputError: `ncps` is not installed, or it cannot make such a wiring.

  Example:
    >>> model = LTC(num_outputs=1, units=8)
    >>> variables = model.init(jax.random.key(0), jnp.zeros((1, 5, 3)), train=False)
    >>> model.apply(variables, jnp.zeros((2, 5, 3)), train=False).shape
    (2, 5, 1)
  """

  num_outputs: Count
  units: Count = 8
  sparsity_level: Annotated[float, Range(at_least=0.1, at_most=0.9)] = 0.5
  wiring_seed: Whole = 22222
  unfolds: Count = 6

  @nn.compact
  def __call__(self, inputs: jax.Array, train: bool, return_state: bool = False) -> Any:
    """Outputs [B, T, num_outputs] for sequences [B, T, C], from potentials of zero.

    With `return_state`, also the final potentials [B, units]; `train` has no effect.
    """
    del train
    size = inputs.shape[-1]
    wiring = ncp_wiring(size, self.units, self.num_outputs, self.sparsity_level, self.wiring_seed)
    params = self._parameters(wiring)

    def step(v: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
      v = ltc_step(params, wiring, v, x, self.unfolds)
      return v, v[:, : self.num_outputs]

    start = jnp.zeros((inputs.shape[0], self.units), inputs.dtype)
    last, motor = jax.lax.scan(step, start, jnp.swapaxes(inputs, 0, 1))
    outputs = jnp.swapaxes(motor, 0, 1) * params['output_w'][None, None]
    outputs += params['output_b'][None, None]
    return (outputs, last) if return_state else outputs

  def _parameters(self, wiring: Wiring) -> dict[str, jax.Array]:
    size = len(wiring.inputs)
    shapes: dict[str, tuple[tuple[float, float], tuple[int, ...]]] = {
      name: (bounds, (self.units,)) for name, bounds in RANGES.items()
    }
    for name, bounds in SYNAPSE_RANGES.items():
      shapes[name] = (bounds, (self.units, self.units))
      shapes[f'sensory_{name}'] = (bounds, (size, self.units))
    params = {name: self.param(name, _uniform, *args) for name, args in shapes.items()}
    for name, polarity in (('erev', wiring.neurons), ('sensory_erev', wiring.inputs)):
      params[name] = self.param(name, lambda key, p=polarity: jnp.asarray(p, jnp.float32))
    for name, length in (('input', size), ('output', self.num_outputs)):
      params[f'{name}_w'] = self.param(f'{name}_w', nn.initializers.ones, (length,))
      params[f'{name}_b'] = self.param(f'{name}_b', nn.initializers.zeros, (length,))
    return params


def _uniform(key: jax.Array, bounds: tuple[float, float], shape: tuple[int, ...]) -> jax.Array:
  return jax.random.uniform(key, shape, jnp.float32, *bounds)
