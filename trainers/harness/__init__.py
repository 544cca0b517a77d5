"""What surrounds the steps of a stage: loop, checkpoints, signals, writers, run folder."""
