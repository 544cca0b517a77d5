"""Strict by default: several CPU devices, and shapes that do not fit are errors."""

import os

import jax
import numpy as np
import pytest
from absl import flags

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
flags.FLAGS.mark_as_parsed()  # grain and absl.logging look at them
jax.config.update('jax_num_cpu_devices', 8)
assert jax.device_count() == 8  # takes effect with the first look, before a run asks for less
jax.config.update('jax_numpy_rank_promotion', 'raise')


@pytest.fixture
def rng():
  return np.random.default_rng(7)
