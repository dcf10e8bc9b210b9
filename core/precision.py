"""In which precision a network computes: float32, or products in bfloat16 (autocast)."""

from typing import Literal

import torch

from core.config import RunConfig, width_of

Precision = Literal["auto", "float32", "bfloat16"]
WIDE = 256
"""Width from which `auto` takes bfloat16 on a CPU that multiplies it. There it trains 2 to 3 times as fast; narrower
models gain less (1.3 at 96 and 128), and give the same numbers on every machine as they are."""


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16 products."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def mixed_precision(config: RunConfig, device: torch.device, decoding: bool = False) -> bool:
    """Whether to compute in bfloat16, in training or in decoding: where asked for, or where 'auto' finds that it pays:
    on a device that multiplies it, and on a CPU only for a model of at least WIDE."""
    asked: Precision = config.training.decoding_precision if decoding else config.training.precision
    if asked != "auto":
        return asked == "bfloat16"
    return multiplies_bfloat16(device) and (device.type == "cuda" or width_of(config) >= WIDE)


def autocast(config: RunConfig, device: torch.device, decoding: bool = False) -> torch.autocast:
    """The context in which the network runs."""
    return torch.autocast(device.type, torch.bfloat16, enabled=mixed_precision(config, device, decoding))
