"""Inner problems, by the name a config gives them."""

TASKS = {'classification': 'l2o.tasks.classification:classification'}
