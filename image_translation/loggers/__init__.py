"""W&B and TensorBoard."""
