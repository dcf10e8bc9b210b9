"""Weights & Biases: a mirror of the run folders, read back into folders; studies as its sweep files."""
