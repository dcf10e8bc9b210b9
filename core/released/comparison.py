"""How far ours is from what was recorded."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Arrays = dict[str, np.ndarray]
ROUNDING = 2.0**-25
"""By how much float32 rounds a number below 1."""


def difference(ours: Tensor, recorded: np.ndarray, mask: Tensor | None = None) -> float:
    """max |ours - recorded| / max(1, |recorded|), over real positions where a mask says which."""
    theirs = torch.from_numpy(np.asarray(recorded)).double()
    if ours.shape != theirs.shape:
        raise ValueError(f"ours has shape {tuple(ours.shape)}, the recorded {tuple(theirs.shape)}")
    gap = (ours.detach().double() - theirs).abs() / theirs.abs().clamp_min(1.0)
    return float((gap if mask is None else gap[mask]).max())


def share(ours: Tensor, theirs: Tensor) -> float:
    """max |ours - theirs| / max |theirs|, which arrays that are small throughout need. 0 where theirs are all 0,
    and for differences within ROUNDING."""
    most = float(theirs.double().abs().max()) if theirs.numel() else 0.0
    gap = (ours.detach().double() - theirs.double()).abs()
    return float(torch.where(gap <= ROUNDING, 0.0, gap).max()) / most if most else 0.0


def largest(gaps: dict[str, float]) -> float:
    """The largest difference; infinite if one is no number, so that NaN never passes for agreement."""
    return max(gap if math.isfinite(gap) else math.inf for gap in gaps.values())


class Comparison:
    """Collects how far numbers are apart, and which decisions differ."""

    def __init__(self) -> None:
        self.gaps: dict[str, float] = {}
        self.shares: dict[str, float] = {}
        self.identical: list[str] = []
        self.different: list[str] = []

    def number(self, name: str, ours: Tensor, recorded: np.ndarray, mask: Tensor | None = None) -> None:
        """Real numbers; where one is infinite the other must be so too."""
        theirs = torch.from_numpy(np.asarray(recorded))
        if ours.shape != theirs.shape:
            raise ValueError(f"{name}: ours has shape {tuple(ours.shape)}, the recorded {tuple(theirs.shape)}")
        looked_at = torch.ones(theirs.shape, dtype=torch.bool)
        if mask is not None:
            looked_at &= mask.view(*mask.shape, *[1] * (theirs.ndim - mask.ndim))
        finite = torch.isfinite(theirs)
        agree = torch.equal(ours[looked_at & ~finite], theirs[looked_at & ~finite].to(ours.dtype))
        rest = looked_at & finite
        gap = difference(ours, recorded, rest) if bool(rest.any()) else 0.0
        self.gaps[name] = gap if agree else math.inf
        self.shares[name] = share(ours[rest], theirs[rest])

    def decision(self, name: str, ours: Tensor, recorded: np.ndarray, mask: Tensor | None = None) -> None:
        """Integers and booleans: tokens, lengths, places, choices. Others decided otherwise may be more or fewer."""
        theirs = torch.from_numpy(np.asarray(recorded)).long()
        if ours.shape != theirs.shape:
            self.different.append(name)
            return
        same = ours.long() == theirs
        agree = bool((same if mask is None else same[mask]).all())
        (self.identical if agree else self.different).append(name)

    def gradients(self, network: nn.Module, names: Mapping[str, str], case: Arrays, prefix: str) -> None:
        """The gradients of some weights; names: theirs -> ours. Recorded under theirs, after the prefix."""
        learned = dict(network.named_parameters())
        for theirs, ours in names.items():
            gradient = learned[ours].grad
            assert gradient is not None
            self.number(f"{prefix}{theirs}", gradient, case[f"{prefix}{theirs}"])

    def report(self) -> dict[str, Any]:
        """Differences, the largest, and the largest as a share of its array's largest value; whether all decisions
        agree, and the names of those that do and do not."""
        return {
            "differences": self.gaps,
            "largest": largest(self.gaps),
            "largest_share": largest(self.shares),
            "identical": self.identical,
            "tokens_identical": not self.different,
            **({"different": self.different} if self.different else {}),
        }
