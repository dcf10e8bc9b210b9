"""Weights & Biases as a mirror of the run folders: written while a run goes, and read back into folders."""
