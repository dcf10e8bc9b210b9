"""Decoding: candidates (lengths x noises), the sampler, and the choice among the candidates."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from core.batches import Batch
from core.config import DecodingConfig
from core.difformer import Difformer, Memory
from core.diffusion import SpacedProcess
from core.randomness import generator
from core.samplers import OnStep, ancestral, seeded_noise, silent
from core.scores import mbr_choice


@dataclass(frozen=True)
class Candidates:
    """C candidates for each of B sentences. tokens: [B C, L]; mask: [B C, L]; score: mean log-probability [B C]."""

    tokens: Tensor
    mask: Tensor
    score: Tensor

    def ids(self) -> list[list[int]]:
        """Token ids of each candidate, padding left off; B C lists."""
        return [row[: int(n)] for row, n in zip(self.tokens.tolist(), self.mask.sum(1).tolist(), strict=True)]


def candidate_lengths(model: Difformer, memory: Memory, config: DecodingConfig) -> Tensor:
    """Lengths of all candidates, [B C], a sentence's adjacent: L lengths around the predicted one, N noises each."""
    offsets = torch.arange(config.length_candidates, device=memory.lengths.device) - config.length_candidates // 2
    lengths = model.predicted_lengths(memory)[:, None, None] + offsets[:, None]
    return lengths.expand(-1, -1, config.noise_candidates).flatten().clamp(2, model.max_positions)


def length_mask(lengths: Tensor, longest: int) -> Tensor:
    """[B, L], true at real positions."""
    return torch.arange(longest, device=lengths.device) < lengths[:, None]


def denoiser(
    model: Difformer, memory: Memory, mask: Tensor, config: DecodingConfig
) -> Callable[[Tensor, int, Tensor | None], Tensor]:
    """The network as the sampler sees it: fixed t and clamping applied."""

    def denoise(z_t: Tensor, t: int, z_0_prev: Tensor | None) -> Tensor:
        told = t if config.fixed_t is None else config.fixed_t * model.diffusion_steps
        time = torch.full((1,), told * model.time_scale, device=z_t.device, dtype=torch.float32)
        z_0_hat = model.denoise(z_t, time, mask, memory, z_0_prev)
        return model.embedding(model.embedding.logits(z_0_hat).argmax(-1)) if config.clamping else z_0_hat

    return denoise


def read_out(model: Difformer, z_0_hat: Tensor, mask: Tensor) -> Candidates:
    """Most likely tokens of z_0_hat [B C, L, d_e] and their mean log-probability."""
    logits = model.embedding.logits(z_0_hat).float()
    best, tokens = logits.max(-1)
    log_p = (best - logits.logsumexp(-1)) * mask
    return Candidates(tokens, mask, log_p.sum(1) / mask.sum(1))


@torch.no_grad()
def candidates(
    model: Difformer,
    process: SpacedProcess,
    batch: Batch,
    config: DecodingConfig,
    seed: int,
    on_step: Callable[[Tensor], OnStep] | None = None,
) -> Candidates:
    """Decode a batch. The encoder and its keys and values run once, for all steps and candidates.

    on_step(mask) makes the sampler's hook, once the lengths are known. Same model, batch and seed: same tokens.
    """
    memory = model.encode(batch.source, batch.source_mask)
    lengths = candidate_lengths(model, memory, config)
    mask = length_mask(lengths, int(lengths.max()))
    noise = seeded_noise(generator(mask.device, seed, "decode", *batch.source.shape, int(batch.source[0].sum())))
    z_T = noise(torch.empty(*mask.shape, model.config.latent_dim, device=mask.device)) * process.noise_scale
    hook = silent if on_step is None else on_step(mask)
    z_0_hat = ancestral(denoiser(model, memory, mask, config), process, z_T, noise, config.early_stop, hook)
    return read_out(model, z_0_hat, mask)


Choice = Callable[[list[str], list[float]], int]
"""(texts of a sentence's candidates, their mean log-probabilities) -> index of the chosen one."""


def chooser(decoding: DecodingConfig) -> Choice:
    """How one of a sentence's candidates is chosen."""
    if decoding.selection == "mbr":
        return lambda texts, log_p: mbr_choice(texts)
    return lambda texts, log_p: log_p.index(max(log_p))


def translate(
    model: Difformer,
    process: SpacedProcess,
    batches: list[tuple[list[int], Batch]],
    config: DecodingConfig,
    decode: Callable[[list[int]], str],
    choose: Choice,
    seed: int,
) -> list[str]:
    """The text of each sentence, in the order of the indices that come with the batches."""
    count = config.length_candidates * config.noise_candidates
    texts: dict[int, str] = {}
    for indices, batch in batches:
        found = candidates(model, process, batch, config, seed)
        scores, decoded = found.score.tolist(), [decode(ids) for ids in found.ids()]
        for row, index in enumerate(indices):
            group = slice(row * count, (row + 1) * count)
            texts[index] = decoded[group][choose(decoded[group], scores[group]) if count > 1 else 0]
    return [texts[index] for index in sorted(texts)]
