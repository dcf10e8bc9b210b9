"""What the paper's diagnostics look at: embedding space, loss at each t, what the nearest embedding recovers."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from core.diffusion.denoiser import Denoiser
from core.diffusion.draws import Draws
from core.diffusion.objectives import errors, predict
from core.diffusion.process import ForwardProcess
from core.randomness import generator
from core.sections import DecodingConfig
from core.text.batches import Batch

PROBE_TIMES = 16
CURVES = ("mse", "nll", "accuracy", "nearest")


class Placed(Protocol):
    """An embedding space."""

    @property
    def table(self) -> Tensor: ...
    def __call__(self, tokens: Tensor) -> Tensor: ...


@torch.no_grad()
def embedding_spread(space: Placed, types: Tensor) -> dict[str, float]:
    """How far the z_0 of n types [n] stand apart: norm, mean pairwise cosine, effective rank, rms per dimension.

    types: those that occur in training targets. Types of sources alone stand in the same table, but are never diffused.
    "types" is their number n, by which rows are told from those of earlier versions, which were of the whole table.
    mean cosine over distinct pairs = (|sum of unit vectors|^2 - n) / (n (n - 1)). Effective rank = exp of the entropy
    of the centred rows' squared singular values as shares (Roy & Vetterli 2007, on the spectrum of the covariance).
    NaN where a diverged run left no finite rows, and the cosine of a single type.
    """
    names = ("norm_mean", "norm_std", "cosine", "rank", "scale")
    z_0 = space(types.to(space.table.device)).double()
    if not bool(torch.isfinite(z_0).all()):
        return {"diag/types": len(types)} | {f"diag/{name}": math.nan for name in names}
    norm = z_0.norm(dim=-1)
    unit = z_0 / norm.clamp_min(1e-12)[:, None]
    count = len(z_0)
    cosine = (unit.sum(0).square().sum() - unit.square().sum()) / (count * (count - 1))
    centred = z_0 - z_0.mean(0)
    spectrum = torch.linalg.eigvalsh(centred.T @ centred).clamp_min(0)
    share = spectrum / spectrum.sum().clamp_min(1e-300)
    rank = torch.exp(-(share * share.clamp_min(1e-300).log()).sum())
    values = torch.stack([norm.mean(), norm.std(), cosine, rank, z_0.square().mean().sqrt()]).tolist()
    return {"diag/types": len(types)} | {f"diag/{name}": value for name, value in zip(names, values, strict=True)}


def nearest_types(z: Tensor, table: Tensor) -> Tensor:
    """Index of the row of table [V, d_e] nearest to each z [N, d_e] (Euclidean), [N]."""
    return (z @ table.T - 0.5 * table.square().sum(-1)).argmax(-1)


def over_times(
    names: Sequence[str],
    times: Sequence[float],
    batches: Sequence[Batch],
    sums: Callable[[float, int, Batch], Tensor],
) -> dict[str, list[float]]:
    """Means over the batches' tokens at each time, by name; lists as long as times.

    sums(t, index, batch): the sum of each name over a batch's tokens, and how many they are, float64 [names + 1].
    """
    curves: dict[str, list[float]] = {name: [] for name in names}
    for t in times:
        total = torch.zeros(len(names) + 1, dtype=torch.float64)
        for index, batch in enumerate(batches):
            total += sums(t, index, batch).cpu()
        for name, value in zip(names, (total[:-1] / total[-1]).tolist(), strict=True):
            curves[name].append(value)
    return curves


@torch.no_grad()
def per_step(model: Denoiser, batches: list[Batch], times: list[int], seed: int) -> dict[str, list[float]]:
    """mse, nll, accuracy and nearest-embedding recovery over the batches' tokens at each t of times.

    Self-conditioned as in decoding's later steps (one pass first). Lists as long as times.
    """
    table = model.embedding.all_z_0()

    def sums(t: float, index: int, batch: Batch) -> Tensor:
        return _step_sums(model, batch, int(t), generator(table.device, seed, "probe", index), table)

    return over_times(CURVES, times, batches, sums)


def _step_sums(model: Denoiser, batch: Batch, t: int, noise: torch.Generator, table: Tensor) -> Tensor:
    """Sums over a batch's tokens of mse, nll, correct and nearest-correct, and the number of tokens: [5]."""
    shape = (*batch.target.shape, table.shape[1])
    eps = torch.randn(shape, generator=noise, device=table.device)
    times = torch.full((len(batch.target),), t, device=table.device)
    prediction = predict(model, batch, Draws(times, eps, coin=True))
    z_t, z_0_hat, y = batch.real(prediction.z_t), batch.real(prediction.z_0_hat), batch.real(batch.target)
    correct = model.embedding.logits(z_0_hat).argmax(-1) == y
    recovered = nearest_types(z_t, table) == y
    mse, nll = errors(model, prediction, batch)
    sums = [mse.sum(), nll.sum(), correct.sum(), recovered.sum(), torch.tensor(len(y), device=y.device)]
    return torch.stack([value.double() for value in sums])


@torch.no_grad()
def nearest_recovery(
    model: Denoiser, process: ForwardProcess, batches: Iterable[Batch], times: list[int], seed: int
) -> list[float]:
    """Share of tokens that the embedding nearest to z_t alone recovers, at each t: how little noise there is."""
    table = model.embedding.all_z_0()
    z_0 = torch.cat([batch.real(model.embedding(batch.target)) for batch in batches])
    y = torch.cat([batch.real(batch.target) for batch in batches])
    eps = torch.randn(z_0.shape, generator=generator(table.device, seed, "nearest"), device=table.device)
    shares = []
    for t in times:
        z_t = process.signal[t] * z_0 + process.noise[t] * eps
        shares.append(float((nearest_types(z_t, table) == y).float().mean()))
    return shares


def probe_times(T: int) -> list[int]:
    """The t at which is probed, from 0 to T - 1."""
    return [round(u * (T - 1)) for u in np.linspace(0, 1, PROBE_TIMES)]


def one_shot(config: DecodingConfig, t: int, T: int) -> DecodingConfig:
    """The decoding that predicts z_0 once, from pure noise, telling the network t (v2 Fig. 5, dashed)."""
    return replace(config, decoding_steps=1, early_stop=0, fixed_t=t / T, clamping=False)
