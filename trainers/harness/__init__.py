"""Around the steps of every stage: the loop, checkpoints, signals, writers, the run's folder."""
