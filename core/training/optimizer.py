"""The optimizer, its learning rate, and the moving average of the weights."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from core.sections import TrainingConfig


def learning_rate(config: TrainingConfig, step: int) -> float:
    """Linear from warmup_init_lr to lr over the warm-up, then as lr_schedule says; step counts from 1.

    inverse_sqrt: lr * sqrt(warmup / step); linear: falls by equal parts, to 0 one update after the last; constant: lr.
    """
    if step < config.warmup:
        return config.warmup_init_lr + (config.lr - config.warmup_init_lr) * step / config.warmup
    peak = max(config.warmup, 1)
    if config.lr_schedule == "constant":
        return config.lr
    if config.lr_schedule == "linear":
        return config.lr * max(config.updates + 1 - max(step, peak), 0) / max(config.updates + 1 - peak, 1)
    return config.lr * math.sqrt(peak / max(step, 1))


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


class MovingAverage:
    """The exponential moving average of the parameters that learn, from their start; tensor operations alone.

    After n updates the start still has the weight decay^n.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.learned = {name: p for name, p in network.named_parameters() if p.requires_grad}
        self.mean = {name: p.detach().clone() for name, p in self.learned.items()}

    @torch.no_grad()
    def update(self) -> None:
        """mean <- decay * mean + (1 - decay) * weights."""
        torch._foreach_lerp_(list(self.mean.values()), list(self.learned.values()), 1.0 - self.decay)

    @torch.no_grad()
    def put(self, values: dict[str, Tensor]) -> None:
        """Put values into the parameters, in place."""
        for name, p in self.learned.items():
            p.copy_(values[name])

    @contextmanager
    def instead(self) -> Iterator[None]:
        """Within it the network has the mean in place of its weights."""
        weights = {name: p.detach().clone() for name, p in self.learned.items()}
        self.put(self.mean)
        try:
            yield
        finally:
            self.put(weights)

    @torch.no_grad()
    def restore(self, mean: dict[str, Tensor]) -> None:
        """Take the mean of a checkpoint. Raises KeyError naming a parameter that it lacks."""
        for name, value in self.mean.items():
            value.copy_(mean[name])
