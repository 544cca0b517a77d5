"""What is run by hand in an environment of its own, so nothing here imports the rest."""
