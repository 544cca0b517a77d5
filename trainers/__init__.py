"""Runs experiments: stages, their loops, and what they leave in the workdir."""

import os

# TensorFlow, of which only the event writer is used, greets every process with a page of notes.
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '0')
