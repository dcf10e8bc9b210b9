"""What methods build their networks of."""
