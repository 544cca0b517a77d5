"""What stages need: data, device meshes, saved models, memory."""
