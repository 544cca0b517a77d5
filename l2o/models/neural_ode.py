"""A neural ordinary differential equation, for fitting trajectories."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from l2o.arguments import Count, NotNegative
from l2o.optional import require


class _Field(nn.Module):
  """dy/dt as a perceptron of (y, t)."""

  features: Sequence[int]

  @nn.compact
  def __call__(self, time: jax.Array, y: jax.Array) -> jax.Array:
    x = jnp.concatenate([y, jnp.reshape(time, (1,)).astype(y.dtype)])
    for width in self.features:
      x = nn.tanh(nn.Dense(width)(x))
    return nn.Dense(y.shape[-1], name='head')(x)


class NeuralODE(nn.Module):
  """The solution of dy/dt = f(y, t), f a perceptron with tanh, at given times.

  Solved by an explicit Runge-Kutta method of order 5 with adaptive steps (Tsit5); gradients are
  those of the discrete solution, by checkpointed reverse mode. If `max_steps` are not
  enough, the result is infinite rather than an error, so that a diverging optimizer sees it in its
  loss.

  Attributes:
    features: widths of the hidden layers of f.
    rtol: relative tolerance of a step.
    atol: absolute tolerance of a step.
    max_steps: maximum number of solver steps.

  Raises:
    InputError: `diffrax` is not installed.

  Example:
    >>> model, times = NeuralODE(features=(8,)), jnp.linspace(0.0, 1.0, 5)
    >>> variables = jax.jit(model.init)(jax.random.key(0), jnp.ones((1, 2)), times)
    >>> jax.jit(model.apply)(variables, jnp.ones((3, 2)), times).shape
    (3, 5, 2)

  Source: Chen et al., "Neural Ordinary Differential Equations", arXiv 1806.07366, eq. (2).
  """

  features: Sequence[Count] = (64, 64)
  rtol: NotNegative = 1e-3
  atol: NotNegative = 1e-6
  max_steps: Count = 4096

  @nn.compact
  def __call__(self, start: jax.Array, times: jax.Array, train: bool = False) -> jax.Array:
    """Trajectories [B, T, D] from `start` [B, D] at increasing times [T], the first being its own.

    `train` has no effect.
    """
    del train
    diffrax = require('diffrax')
    field = _Field(tuple(self.features), parent=None)
    # The solver differentiates a function of the parameters, so they are taken out of the module.
    params = self.param('field', lambda key: field.init(key, times[0], start[0])['params'])

    def derivative(time: Any, y: jax.Array, params: Any) -> jax.Array:
      slope: Any = field.apply({'params': params}, time, y)
      return slope

    def solve(y: jax.Array) -> jax.Array:
      return diffrax.diffeqsolve(
        diffrax.ODETerm(derivative),
        diffrax.Tsit5(),
        t0=times[0],
        t1=times[-1],
        dt0=None,
        y0=y,
        args=params,
        saveat=diffrax.SaveAt(ts=times),
        stepsize_controller=diffrax.PIDController(rtol=self.rtol, atol=self.atol),
        max_steps=self.max_steps,
        throw=False,
      ).ys

    return jax.vmap(solve)(start)
