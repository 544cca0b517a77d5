"""Runs experiments: the stages, their loops, and the files they write to the workdir."""

import os

# We use only TensorFlow's event writer, but its import logs a page of notes in every process.
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '0')
