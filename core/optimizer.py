"""The optimizer and its learning rate."""

import math

import torch
from torch import Tensor, nn

from core.sections import TrainingConfig


def learning_rate(config: TrainingConfig, step: int) -> float:
    """Linear from warmup_init_lr to lr over the warm-up, then lr * sqrt(warmup / step); step counts from 1."""
    if step < config.warmup:
        return config.warmup_init_lr + (config.lr - config.warmup_init_lr) * step / config.warmup
    return config.lr * math.sqrt(max(config.warmup, 1) / max(step, 1))


def optimizer_for(network: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """AdamW over the parameters that learn. On a GPU its learning rate is a tensor, as a captured update needs it."""
    learned = [p for p in network.parameters() if p.requires_grad]
    device = learned[0].device
    cuda = device.type == "cuda"
    lr = torch.tensor(config.lr, device=device) if cuda else config.lr
    betas = (config.beta1, config.beta2)
    return torch.optim.AdamW(learned, lr=lr, betas=betas, weight_decay=config.weight_decay, fused=True, capturable=cuda)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Of all parameters; in place where it is a tensor."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr
