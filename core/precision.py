"""In which precision a network computes."""

import torch

from core.sections import TrainingConfig


def mixed_precision(config: TrainingConfig, device: torch.device) -> bool:
    """Whether to compute in bfloat16: where asked for, or where 'auto' finds a GPU that has it."""
    automatic = config.precision == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported()
    return automatic or config.precision == "bfloat16"


def autocast(config: TrainingConfig, device: torch.device) -> torch.autocast:
    """The context in which the network runs."""
    return torch.autocast(device.type, torch.bfloat16, enabled=mixed_precision(config, device))
