"""Decoding by an embedding diffusion: lengths of the candidates, the network as a sampler sees it, reading out."""

from collections.abc import Callable

import torch
from torch import Tensor

from core.candidates import Candidates
from core.diffusion.denoiser import Denoiser, Memory
from core.diffusion.process import Visited
from core.diffusion.samplers import SAMPLERS, Denoise, OnCall, sample, seeded_noise, silent
from core.randomness import generator
from core.sections import DecodingConfig
from core.text.batches import Batch


def candidate_lengths(model: Denoiser, memory: Memory, config: DecodingConfig) -> Tensor:
    """Lengths of all candidates, [B C], a sentence's adjacent: L lengths around the predicted one, N noises each."""
    offsets = torch.arange(config.length_candidates, device=memory.lengths.device) - config.length_candidates // 2
    lengths = model.predicted_lengths(memory)[:, None, None] + offsets[:, None]
    return lengths.expand(-1, -1, config.noise_candidates).flatten().clamp(2, model.max_positions)


def length_mask(lengths: Tensor, longest: int) -> Tensor:
    """[B, L], true at real positions."""
    return torch.arange(longest, device=lengths.device) < lengths[:, None]


def denoiser(model: Denoiser, memory: Memory, mask: Tensor, config: DecodingConfig) -> Denoise:
    """The network as the sampler sees it: fixed t and clamping applied."""

    def denoise(z_t: Tensor, t: int, z_0_prev: Tensor | None) -> Tensor:
        told = t if config.fixed_t is None else config.fixed_t * model.process.steps
        time = torch.full((1,), told * model.time_scale, device=z_t.device, dtype=torch.float32)
        z_0_hat = model.denoise(z_t, time, mask, memory, z_0_prev)
        return model.embedding(model.embedding.logits(z_0_hat).argmax(-1)) if config.clamping else z_0_hat

    return denoise


def read_out(model: Denoiser, z_0_hat: Tensor, mask: Tensor) -> Candidates:
    """Most likely tokens of z_0_hat [B C, L, d_e] and their mean log-probability."""
    logits = model.embedding.logits(z_0_hat).float()
    best, tokens = logits.max(-1)
    log_p = (best - logits.logsumexp(-1)) * mask
    return Candidates(tokens, mask, log_p.sum(1) / mask.sum(1))


@torch.no_grad()
def candidates(
    model: Denoiser,
    visited: Visited,
    batch: Batch,
    config: DecodingConfig,
    seed: int,
    on_step: Callable[[Tensor], OnCall] | None = None,
) -> Candidates:
    """Decode a batch. The encoder and its keys and values run once, for all steps and candidates.

    on_step(mask) makes the sampler's hook, once the lengths are known. Same model, batch and seed: same tokens.
    """
    memory = model.encode(batch.source, batch.source_mask)
    lengths = candidate_lengths(model, memory, config)
    mask = length_mask(lengths, int(lengths.max()))
    noise = seeded_noise(generator(mask.device, seed, "decode", *batch.source.shape, int(batch.source[0].sum())))
    z_T = noise(torch.empty(*mask.shape, model.latent.latent_dim, device=mask.device)) * visited.start
    hook = silent if on_step is None else on_step(mask)
    denoise = denoiser(model, memory, mask, config)
    z_0_hat = sample(SAMPLERS[config.sampler], denoise, visited, z_T, noise, config.early_stop, hook)
    return read_out(model, z_0_hat, mask)
