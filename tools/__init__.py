"""Scripts run by hand in their own environment, so nothing here imports the rest."""
