"""Inner problems, by the name a config gives them."""

TASKS = {
  'classification': 'l2o.tasks.classification:classification',
  'function': 'l2o.tasks.function:function',
  'language_model': 'l2o.tasks.language_model:language_model',
  'regression': 'l2o.tasks.regression:regression',
}
