"""The inner loop: one step, a rollout of K steps, and strategies for mapping over rollouts."""
