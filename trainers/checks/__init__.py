"""What is refused before anything is computed."""
