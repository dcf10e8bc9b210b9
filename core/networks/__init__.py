"""What methods build their networks of."""

REPLAYED = 2 * 2**30
"""Most bytes that decoding on a GPU keeps in fixed tensors (replays.py)."""
