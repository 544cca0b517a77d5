"""The shapes of the thetas of all rules with a per-parameter network.

Names are those of the released weights; a key `a/b` there is two nested keys here.
"""

import itertools

from l2o.rules.per_parameter.inputs import BLOCKS
from l2o.types import Theta

# Per tensor: 9 of time and 9 of the loss; VeLO also has mean v, rank [5], var m [3] and var v [3].
VELO_FEATURES = {'velo': 30, 'celo': 18}
TIMES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4, 3e4, 1e5)  # steps
MLP_LOPT_INPUTS = 8  # the gradient, the parameter and six momenta
WITHOUT_CLIPPING = {k: n for k, n in BLOCKS.items() if k not in ('clipped_grad', 'scaled_grad')}
INPUT_LAYERS = tuple(f'w0__{i}' for i in range(len(BLOCKS)))


def mlp_lopt_shapes(hidden_size: int) -> Theta:
  """The tree of MLPLOpt's theta with a shape for each leaf.

  Example:
    >>> mlp_lopt_shapes(32)['mlp']['~']['linear_0']
    {'w': (19, 32), 'b': (32,)}
  """
  sizes = MLP_LOPT_INPUTS + len(TIMES), hidden_size, hidden_size, 2
  layers = enumerate(itertools.pairwise(sizes))
  return {'mlp': {'~': {f'linear_{i}': {'w': (n, m), 'b': (m,)} for i, (n, m) in layers}}}


def adafac_mlp_lopt_shapes(hidden_size: int) -> Theta:
  """The tree of AdafacMLPLOpt's theta with a shape for each leaf.

  Example:
    >>> adafac_mlp_lopt_shapes(4)['nn']['~']['w0']
    (39, 4)
  """
  h, inputs = hidden_size, sum(WITHOUT_CLIPPING.values()) + len(TIMES)
  network = {'w0': (inputs, h), 'b0': (h,), 'w1': (h, h), 'b1': (h,), 'w2': (h, 2), 'b2': (2,)}
  decays = {'momentum_decays': (3,), 'rms_decays': (1,), 'adafactor_decays': (3,)}
  return {**decays, 'nn': {'~': network}}


def celo2_shapes(hidden_size: int) -> Theta:
  """The tree of Celo2's theta with a shape for each leaf.

  Example:
    >>> celo2_shapes(8)['ff_mod_stack']['~']['w0__3']
    (3, 8)
  """
  h = hidden_size
  network: Theta = {
    name: (width, h) for name, width in zip(INPUT_LAYERS, BLOCKS.values(), strict=True)
  }
  network |= {'b0': (h,), 'w1': (h, h), 'b1': (h,), 'w2': (h, 3), 'b2': (3,)}
  return {'ff_mod_stack': {'~': network}}


def velo_shapes(num_features: int, lstm_width: int, bank_size: int) -> Theta:
  """The tree of VeLO's or Celo's theta with a shape for each leaf.

  Example:
    >>> velo_shapes(30, 512, 256)['rnn_params']['rnn_to_controls']
    {'w': (512, 256), 'b': (256,)}
  """
  F, H, N = num_features, lstm_width, bank_size

  def linear(inputs: int, outputs: int) -> Theta:
    return {'w': (inputs, outputs), 'b': (outputs,)}

  bank: Theta = {f'w0__{i}': (N, width, 4) for i, width in enumerate(BLOCKS.values())}
  bank |= {'b0': (N, 4), 'w1': (N, 4, 4), 'b1': (N, 4)}
  bank |= {'w2': (N, 4, 3), 'b2': (N, 3)}
  return {
    'lstm_init_state': {'hidden': (1, H), 'cell': (1, H)},
    'rnn_params': {
      'linear': linear(F, H),  # in the released weights, but without effect
      'linear_1': linear(F, H),
      'linear_2': linear(F, H),
      'rnn': {'linear': linear(2 * H, 4 * H)},
      'rnn_to_controls': linear(H, N),
      'step_size': linear(H, 1),
    },
    'ff_mod_stack': {'~': bank},
  }
