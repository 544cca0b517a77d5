"""What rules with a per-parameter network share.

- tensor_groups: many tensors as few arrays.
- accumulators: moving averages of gradients, some of them factored, and Adafactor's factors.
- inputs: what the network sees of an entry, and the scales that normalise it.
- mlp: the network, as elementwise arithmetic.
- blocks: a loop over parts of large arrays, so that intermediates stay small.
"""

from typing import TYPE_CHECKING

from l2o.submodules import lookup

if not TYPE_CHECKING:  # as in l2o itself
  __getattr__ = lookup(__name__)
