"""What main.py runs: a pipeline of stages, a training job, a sweep of either."""
