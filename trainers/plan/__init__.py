"""What a run would need, from its compiled programs, without running it."""
