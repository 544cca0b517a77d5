"""Several processes as one run: how they start, agree on decisions, and notice a lost one."""
