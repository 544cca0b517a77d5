"""What a run would take, from its compiled programs, without running it."""
