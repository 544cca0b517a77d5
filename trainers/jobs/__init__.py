"""The jobs that main.py runs: a pipeline of stages, a training job, or a sweep of either."""
