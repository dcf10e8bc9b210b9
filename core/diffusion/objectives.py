"""The terms of an embedding diffusion's objective, unreduced (Gao et al. 2024).

A token loss is a choice of the point whose logits are scored: z_0_hat (anchor), z_0 (rounding), or none.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from core.diffusion.denoiser import Denoiser
from core.diffusion.draws import Draws
from core.diffusion.process import ForwardProcess
from core.networks.token_loss import token_terms
from core.sections import ObjectiveConfig
from core.text.batches import Batch


@dataclass(frozen=True)
class Prediction:
    """What the network made of a batch. z_0, z_t, z_0_hat: [B, L, d_e]; length_logits: [B, 256]."""

    z_0: Tensor
    z_t: Tensor
    z_0_hat: Tensor
    length_logits: Tensor


@dataclass(frozen=True)
class Terms:
    """Unreduced terms. mse, token, nll: per target token, as batch.real lists them [N]; length: per sentence [B].

    mse is a mean over dimensions; token is label-smoothed and what is trained on; nll is that of the same logits,
    unsmoothed.
    """

    mse: Tensor
    token: Tensor
    nll: Tensor
    length: Tensor


TokenPoint = Callable[[Tensor, Tensor], Tensor | None]
TOKEN_LOSSES: dict[str, TokenPoint] = {
    "anchor": lambda z_0, z_0_hat: z_0_hat,
    "rounding": lambda z_0, z_0_hat: z_0,
    "none": lambda z_0, z_0_hat: None,
}


def predict(model: Denoiser, batch: Batch, draws: Draws, process: ForwardProcess | None = None) -> Prediction:
    """Encode, diffuse and denoise a batch; the encoder and its keys and values are used by both passes.

    process: another one than the model's own.
    """
    process = process or model.process
    memory = model.encode(batch.source, batch.source_mask)
    z_0 = model.embedding(batch.target)
    z_t, time = process.sample(z_0, draws.t, draws.eps), draws.t * model.time_scale
    first = None
    if draws.coin and model.latent.self_conditioning:
        with torch.no_grad():
            first = model.denoise(z_t, time, batch.target_mask, memory.detach())
        torch.clear_autocast_cache()  # before torch 2.10, weights cast under no_grad would get no gradient below
    z_0_hat = model.denoise(z_t, time, batch.target_mask, memory, first)
    return Prediction(z_0, z_t, z_0_hat, memory.length_logits)


def errors(model: Denoiser, prediction: Prediction, batch: Batch) -> tuple[Tensor, Tensor]:
    """How far the prediction is off at each real token, whatever was trained on: mse [N] and -log p(y|z_0_hat) [N]."""
    z_0, z_0_hat = batch.real(prediction.z_0).float(), batch.real(prediction.z_0_hat).float()
    return (z_0_hat - z_0).square().mean(-1), token_terms(model, z_0_hat, batch.real(batch.target), 0.0)[1]


def terms(model: Denoiser, prediction: Prediction, batch: Batch, config: ObjectiveConfig) -> Terms:
    """All terms of a batch, unreduced. Gradients of mse reach both z_0_hat and z_0 (the table)."""
    z_0, z_0_hat = batch.real(prediction.z_0).float(), batch.real(prediction.z_0_hat).float()
    y = batch.real(batch.target)
    mse = (z_0_hat - z_0).square().mean(-1)
    point = TOKEN_LOSSES[config.token_loss](z_0, z_0_hat)
    token, nll = (torch.zeros_like(mse),) * 2 if point is None else token_terms(model, point, y, config.label_smoothing)
    target = model.length_target(batch.source_mask.sum(1), batch.target_mask.sum(1))
    length = functional.cross_entropy(prediction.length_logits.float(), target, reduction="none")
    return Terms(mse, token, nll, length)
