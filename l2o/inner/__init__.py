"""The inner loop: one step, K of them, and ways to run many loops on a device."""
