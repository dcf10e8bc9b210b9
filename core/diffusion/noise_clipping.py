"""Noise that no type's embedding can be told apart from: the least time in training (DINOISER, Ye et al. 2023, eq. 8).

The process is z_t = sqrt(1 - t^2) z_0 + t eps, t in [0, 1]: t is the noise's standard deviation.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

ROWS = 2048
"""Types that are compared with all others at once."""


def signal_at(t: Tensor) -> Tensor:
    """sqrt(1 - t^2), in float32."""
    return (1.0 - t.square()).sqrt()


@torch.no_grad()
def nearest_variance(table: Tensor) -> Tensor:
    """Mean over types of the squared distance to the nearest other type, for each dimension; table [V, d_e], each row
    of norm sqrt(d_e). Two rows at an angle are 2 d_e (1 - cos) apart, squared."""
    unit = functional.normalize(table.float(), dim=-1)
    nearest = []
    for start in range(0, len(unit), ROWS):
        cosine = unit[start : start + ROWS] @ unit.T
        own = torch.arange(len(cosine), device=unit.device)
        cosine[own, own + start] = -math.inf
        nearest.append(cosine.amax(1))
    return (2.0 - 2.0 * torch.cat(nearest)).mean()


def least_time(table: Tensor, clipping: str, least_noise: float) -> Tensor:
    """The t below which no noise is drawn: t^2 / (1 - t^2) = variance of the nearest types (clipped), or that + 1
    (clipped_s); least_noise without clipping."""
    if clipping == "none":
        return torch.tensor(least_noise, device=table.device)
    variance = nearest_variance(table) + (1.0 if clipping == "clipped_s" else 0.0)
    return (variance / (1.0 + variance)).sqrt()
