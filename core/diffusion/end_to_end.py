"""Training of a diffusion over embeddings that are learned with it, end to end (Li et al. 2022, eq. 2).

x_0 = E[w] + sqrt(1 - abar_0) eps_0, the embedded text with the noise of the first step; x_t is drawn from q(x_t | x_0)
where text is written, and is x_0 elsewhere (partial noising, Gong et al. 2023). The terms, at each position:

    mse    (x_0 - f(x_t, t))^2, at t = 0 (E[w] - f(x_t, t))^2
    token  -log p(w | x_0), of the true embedding, not of the prediction (rounding)
    tT     (sqrt(abar_{T-1}) x_0)^2
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from core.diffusion.end_to_end_sections import EndToEndConfig
from core.diffusion.latent_denoiser import LatentDenoiser, Layout
from core.diffusion.objectives import TOKEN_LOSSES
from core.diffusion.probes import CURVES, nearest_types, over_times
from core.diffusion.time_samplers import TIME_SAMPLERS
from core.networks.token_loss import token_terms
from core.randomness import generator
from core.text.batches import Batch
from core.text.shapes import filled
from core.text.tokenizer import PAD


@dataclass(frozen=True)
class Draws:
    """What a step draws: t [B], the importance weight of each [B], the noise of x_0 and of x_t [B, J, d_e], uniform
    numbers of the soft absorbing state [B, J] (None without it), the self-conditioning coin.

    beside: positions that J has beside those of a batch's sides (None: J is the same for all batches).
    """

    t: Tensor
    weight: Tensor
    eps_0: Tensor
    eps: Tensor
    absorb: Tensor | None
    beside: int | None
    coin: bool = False

    def rows(self, rows: slice) -> Self:
        """The draws of some sentences."""
        absorb = None if self.absorb is None else self.absorb[rows]
        mine = self.t[rows], self.weight[rows], self.eps_0[rows], self.eps[rows], absorb
        return type(self)(*mine, self.beside, self.coin)

    def filled(self, rows: int, length: int) -> Self:
        """The draws of a batch filled up to a shape."""
        J = self.eps.shape[1] if self.beside is None else length + self.beside
        absorb = None if self.absorb is None else filled(self.absorb, rows, J)
        t, weight = filled(self.t, rows), filled(self.weight, rows, value=1.0)
        mine = t, weight, filled(self.eps_0, rows, J), filled(self.eps, rows, J), absorb
        return type(self)(*mine, self.beside, self.coin)


def training_draws(
    network: LatentDenoiser, batch: Batch, seed: int, step: int, time_sampler: str, adaptive: bool = True
) -> Draws:
    """The draws of a step: a function of (seed, step), and of the losses seen where t is drawn by them (adaptive)."""
    device, host = batch.target.device, generator(torch.device("cpu"), seed, "step", step)
    B, J, T = len(batch.target), network.width(batch.source.shape[1]), network.process.steps
    if network.moments is not None and adaptive:
        t, weight = network.moments.draw(torch.rand(B, generator=host, dtype=torch.float64).to(device))
    else:
        t, weight = TIME_SAMPLERS[time_sampler](T, B, host).to(device, non_blocking=True), torch.ones(B, device=device)
    coin = network.self_conditioning and bool(torch.rand((), generator=host) < 0.5)
    source = host if device.type == "cpu" else generator(device, seed, "eps", step)
    shape = B, J, network.latent_dim
    eps_0, eps = (torch.randn(shape, generator=source, device=device) for _ in range(2))
    absorbs = network.absorbing is not None
    absorb = torch.rand(B, J, generator=source, device=device) if absorbs else None
    return Draws(t, weight, eps_0, eps, absorb, network.beside, coin)


@dataclass(frozen=True)
class Prediction:
    """What the network made of a batch, [B, J, d_e]: clean E[w], the noised x_0, x_t, and its output."""

    clean: Tensor
    x_0: Tensor
    x_t: Tensor
    out: Tensor


def noised(network: LatentDenoiser, layout: Layout, draws: Draws, absorb_rate: float) -> tuple[Tensor, Tensor, Tensor]:
    """E[w], x_0 and x_t, [B, J, d_e].

    With the soft absorbing state m (DiffuSeq-v2): x_t = sqrt(abar) (x_0 - m) + sqrt(1 - abar) eps + m, and m itself
    with probability absorb_rate * sqrt(1 - abar); abar has the noise factor in its variance-preserving form alone.
    """
    process, m = network.process, network.absorbing
    clean = network.embedding(layout.ids)
    x_0 = clean + network.start_std * draws.eps_0
    if m is None:
        x_t = process.sample(x_0, draws.t, draws.eps)
    else:
        chance = absorb_rate * (1 - process.signal[draws.t, None].square()).sqrt()
        x_t = process.sample(x_0 - m, draws.t, draws.eps) + m
        x_t = torch.where((draws.absorb < chance)[..., None], m, x_t)  # type: ignore[operator]
    return clean, x_0, torch.where(layout.written[..., None], x_t, x_0)


def predict(network: LatentDenoiser, batch: Batch, draws: Draws, absorb_rate: float) -> tuple[Layout, Prediction]:
    """Lay out, diffuse and denoise a batch; of two passes with the coin the first one learns nothing."""
    layout = network.layout(batch.source, batch.target)
    clean, x_0, x_t = noised(network, layout, draws, absorb_rate)
    time, memory, first = draws.t * network.time_scale, network.read(batch.source), None
    if draws.coin:
        with torch.no_grad():
            first = network.denoise(x_t, time, layout, memory)
        torch.clear_autocast_cache()  # before torch 2.10, weights cast under no_grad would get no gradient below
    return layout, Prediction(clean, x_0, x_t, network.denoise(x_t, time, layout, memory, first))


def squared_errors(made: Prediction, t: Tensor) -> Tensor:
    """(x_0 - out)^2, or (E[w] - out)^2 at t = 0, means over dimensions, [B, J]."""
    wanted = torch.where((t == 0)[:, None, None], made.clean, made.x_0).float()
    return (wanted - made.out.float()).square().mean(-1)


def terms(
    network: LatentDenoiser,
    batch: Batch,
    layout: Layout,
    made: Prediction,
    t: Tensor,
    mask: Tensor,
    how: EndToEndConfig,
) -> dict[str, Tensor]:
    """mse, token and tT at the positions of a mask [B, J], as batch.pick lists them."""
    x_0, out, ids = (batch.pick(values, mask) for values in (made.x_0.float(), made.out.float(), layout.ids))
    mse = batch.pick(squared_errors(made, t), mask)
    point = TOKEN_LOSSES[how.token_loss](x_0, out)
    token = torch.zeros_like(mse) if point is None else token_terms(network, point, ids, how.label_smoothing)[0]
    return {"mse": mse, "token": token, "tT": batch.pick(tT(network, made), mask)}


def tT(network: LatentDenoiser, made: Prediction) -> Tensor:
    """(sqrt(abar_{T-1}) x_0)^2, means over dimensions, [B, J]."""
    return (network.process.signal[-1][..., None] * made.x_0.float()).square().mean(-1)


def nll_of_prediction(
    network: LatentDenoiser, batch: Batch, layout: Layout, made: Prediction
) -> tuple[Tensor | None, Tensor]:
    """-log p(w | prediction) at the real target tokens, PAD not counted, as batch.pick lists them; and which count."""
    real = layout.written & (layout.ids != PAD)
    out, ids = batch.pick(made.out.float(), real), batch.pick(layout.ids, real)
    return batch.counted(real), token_terms(network, out, ids, 0.0)[1]


def sentences(batch: Batch, mask: Tensor, values: Iterable[Tensor]) -> Tensor:
    """The sum of several terms, each a mean over its sentence's positions in a mask [B, J], [B]."""
    B, counted = len(mask), batch.counted(mask)
    rows = batch.pick(torch.arange(B, device=mask.device)[:, None].expand(mask.shape), mask)
    total = torch.stack(list(values)).sum(0)
    total = total if counted is None else torch.where(counted, total, 0.0)
    return total.new_zeros(B).index_add_(0, rows, total) / mask.sum(1)


# Held-out text


@torch.no_grad()
def sums(network: LatentDenoiser, batch: Batch, draws: Draws, absorb_rate: float) -> Tensor:
    """Sums over a batch's real target tokens of the squared error, -log p of the prediction, right predictions, and
    x_t nearest to the right embedding; and how many tokens they are: float64 [5]."""
    layout, made = predict(network, batch, draws, absorb_rate)
    real = layout.written & (layout.ids != PAD)
    clean, x_t, out, y = (each[real] for each in (made.clean.float(), made.x_t, made.out.float(), layout.ids))
    found = [
        (clean - out).square().mean(-1).sum(),
        token_terms(network, out, y, 0.0)[1].sum(),
        (network.embedding.logits(out).argmax(-1) == y).sum(),
        (nearest_types(x_t, network.embedding.all_z_0()) == y).sum(),
        real.sum(),
    ]
    return torch.stack([value.double() for value in found])


def per_step(network: LatentDenoiser, batches: list[Batch], times: list[int], seed: int, rate: float) -> dict[str, Any]:
    """mse, nll, accuracy and nearest-embedding recovery over the batches' tokens at each t; lists as long as times."""

    def at(t: float, index: int, batch: Batch) -> Tensor:
        draws = training_draws(network, batch, seed, -1 - index, "uniform", adaptive=False)
        draws = replace(draws, t=torch.full_like(draws.t, t), coin=network.self_conditioning)
        return sums(network, batch, draws, rate)

    return over_times(CURVES, times, batches, at)
