"""Random numbers as a function of (seed, purpose, step): a resumed run needs no generator state to draw the same."""

import hashlib

import torch


def mixed(*key: int | str) -> int:
    """A 63-bit integer from a key."""
    return int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "little") >> 1


def generator(device: torch.device, *key: int | str) -> torch.Generator:
    """A generator of its own for a key."""
    return torch.Generator(device).manual_seed(mixed(*key))
