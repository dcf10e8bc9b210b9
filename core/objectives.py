"""The terms of the objective, unreduced, and their one reduction (Gao et al. 2024).

A token loss is a choice of the point whose logits are scored: z_0_hat (anchor), z_0 (rounding), or none.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from core.batches import Batch
from core.config import ObjectiveConfig, RunConfig
from core.difformer import Difformer
from core.diffusion import ForwardProcess
from core.distributed import ALONE, Ranks
from core.embedding import EmbeddingSpace
from core.kernels import log_normaliser
from core.randomness import Draws, training_draws

Values = Callable[[], dict[str, Tensor]]
"""Makes what is logged of a batch, by name, unreduced; called only when a row is due."""
Objective = Callable[[Batch, int], tuple[Tensor, Values]]
"""(batch, step) -> the loss to minimise, and what is logged of it."""


@dataclass(frozen=True)
class Prediction:
    """What the network made of a batch. z_0, z_t, z_0_hat: [B, L, d_e]; length_logits: [B, 256]."""

    z_0: Tensor
    z_t: Tensor
    z_0_hat: Tensor
    length_logits: Tensor


@dataclass(frozen=True)
class Terms:
    """Unreduced terms. mse, token, nll: per real target token [N]; length: per sentence [B].

    mse is a mean over dimensions; token is label-smoothed and what is trained on; nll is that of the same logits,
    unsmoothed. sentence [N] tells which sentence (and so which t) a token belongs to.
    """

    mse: Tensor
    token: Tensor
    nll: Tensor
    length: Tensor
    sentence: Tensor


class Embeds(Protocol):
    """A model with an embedding space."""

    @property
    def embedding(self) -> EmbeddingSpace: ...


TokenPoint = Callable[[Tensor, Tensor], Tensor | None]
TOKEN_LOSSES: dict[str, TokenPoint] = {
    "anchor": lambda z_0, z_0_hat: z_0_hat,
    "rounding": lambda z_0, z_0_hat: z_0,
    "none": lambda z_0, z_0_hat: None,
}


def predict(model: Difformer, process: ForwardProcess, batch: Batch, draws: Draws) -> Prediction:
    """Encode, diffuse and denoise a batch; the encoder and its keys and values are used by both passes."""
    memory = model.encode(batch.source, batch.source_mask)
    z_0 = model.embedding(batch.target)
    z_t, time = process.sample(z_0, draws.t, draws.eps), draws.t * model.time_scale
    first = None
    if draws.coin and model.config.self_conditioning:
        with torch.no_grad():
            first = model.denoise(z_t, time, batch.target_mask, memory.detach())
        torch.clear_autocast_cache()  # before torch 2.10, weights cast under no_grad would get no gradient below
    z_0_hat = model.denoise(z_t, time, batch.target_mask, memory, first)
    return Prediction(z_0, z_t, z_0_hat, memory.length_logits)


def token_terms(model: Embeds, z: Tensor, y: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
    """Label-smoothed cross-entropy and plain -log p(y | z), each [N], for z [N, d_e] and tokens y [N].

    (1 - s) nll + s mean_V(-log p) = logsumexp - (1 - s) z E_y - s z mean(E): one pass over the [N, V] logits. In
    float32 throughout: logits of 32 rounded to bfloat16 are off by up to 0.1 nat.
    """
    table, z = model.embedding.output(), z.float()
    with torch.autocast(z.device.type, enabled=False):
        normaliser = log_normaliser(z, table)
        correct = (z * functional.embedding(y, table)).sum(-1)
        smoothed = (1.0 - smoothing) * correct + smoothing * (z @ table.mean(0))
    return normaliser - smoothed, normaliser - correct


def errors(model: Difformer, prediction: Prediction, batch: Batch) -> tuple[Tensor, Tensor]:
    """How far the prediction is off at each real token, whatever was trained on: mse [N] and -log p(y|z_0_hat) [N]."""
    z_0, z_0_hat = batch.real(prediction.z_0).float(), batch.real(prediction.z_0_hat).float()
    return (z_0_hat - z_0).square().mean(-1), token_terms(model, z_0_hat, batch.real(batch.target), 0.0)[1]


def terms(model: Difformer, prediction: Prediction, batch: Batch, config: ObjectiveConfig) -> Terms:
    """All terms of a batch, unreduced. Gradients of mse reach both z_0_hat and z_0 (the table)."""
    z_0, z_0_hat = batch.real(prediction.z_0).float(), batch.real(prediction.z_0_hat).float()
    y = batch.real(batch.target)
    mse = (z_0_hat - z_0).square().mean(-1)
    point = TOKEN_LOSSES[config.token_loss](z_0, z_0_hat)
    token, nll = (torch.zeros_like(mse),) * 2 if point is None else token_terms(model, point, y, config.label_smoothing)
    target = model.length_target(batch.source_mask.sum(1), batch.target_mask.sum(1))
    length = functional.cross_entropy(prediction.length_logits.float(), target, reduction="none")
    return Terms(mse, token, nll, length, batch.sentence)


def reduce(terms: Terms, config: ObjectiveConfig, tokens: float = 1.0, sentences: float = 1.0) -> Tensor:
    """L = mean(mse) + mean(token) + length_loss_factor * mean(length).

    Where the terms are a rank's part of a batch: the weights of its tokens and of its sentences in the whole batch.
    """
    by_token = (terms.mse.mean() + terms.token.mean()) * tokens
    return by_token + config.length_loss_factor * terms.length.mean() * sentences


def denoising(model: Difformer, config: RunConfig, ranks: Ranks = ALONE) -> Objective:
    """What a Difformer learns: the terms above at a t, noise and coin drawn from (seed, step).

    Of several ranks each takes its rows of the batch and of what is drawn for it; the sum of their losses is the loss.
    """
    device = next(model.parameters()).device
    process = ForwardProcess.build(config.diffusion).to(device)

    def objective(batch: Batch, step: int) -> tuple[Tensor, Values]:
        shape = (*batch.target.shape, config.model.latent_dim)
        draws = training_draws(config.seed, step, shape, process.steps, device)
        mine, drawn, weights = part_of(ranks, batch, draws)
        prediction = predict(model, process, mine, drawn)
        parts = terms(model, prediction, mine, config.objective)
        return reduce(parts, config.objective, *weights), lambda: _logged(model, prediction, mine, parts)

    return objective


def part_of(ranks: Ranks, batch: Batch, draws: Draws) -> tuple[Batch, Draws, tuple[float, float]]:
    """A rank's rows of a batch and its draws, and the weights of its tokens and of its sentences in the whole."""
    if ranks.size == 1:
        return batch, draws, (1.0, 1.0)
    rows = ranks.rows(len(batch.source))
    mine = Batch.padded(batch.source[rows], batch.target[rows])
    tokens = ranks.weight(mine.target_tokens, batch.target_tokens, rows)
    return (
        mine,
        Draws(draws.t[rows], draws.eps[rows], draws.coin),
        (
            tokens,
            ranks.weight(len(mine.source), len(batch.source), rows),
        ),
    )


@torch.no_grad()
def _logged(model: Difformer, prediction: Prediction, batch: Batch, parts: Terms) -> dict[str, Tensor]:
    nll = errors(model, prediction, batch)[1]
    return {"mse": parts.mse, "token": parts.token, "nll": nll, "length": parts.length}
