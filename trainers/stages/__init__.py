"""The stages of a run: training, pretraining, meta-training, meta-evaluation."""
