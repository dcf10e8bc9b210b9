"""Decoding by an embedding diffusion: lengths of the candidates, the network as a sampler sees it, reading out."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from core.candidates import Candidates
from core.diffusion.denoiser import Denoiser, Memory
from core.diffusion.process import Visited
from core.diffusion.samplers import SAMPLERS, Denoise, OnCall, sample, seeded_noise, silent
from core.networks.kernels import most_likely
from core.networks.replays import ROWS, Replays, current, enlarged, rounded
from core.networks.token_loss import Embeds
from core.networks.transformer import EncoderDecoder
from core.randomness import generator
from core.sections import DecodingConfig
from core.text.batches import Batch, packed
from core.text.tokenizer import PAD

PART_TOKENS = 512
"""Target positions of a part of a batch whose sentences have about one length."""


def candidate_lengths(model: Denoiser, memory: Memory, config: DecodingConfig) -> Tensor:
    """Lengths of all candidates, [B C], a sentence's adjacent: L lengths around the predicted one, N noises each."""
    offsets = torch.arange(config.length_candidates, device=memory.lengths.device) - config.length_candidates // 2
    lengths = model.predicted_lengths(memory)[:, None, None] + offsets[:, None]
    return lengths.expand(-1, -1, config.noise_candidates).flatten().clamp(2, model.max_positions)


def length_mask(lengths: Tensor, longest: int) -> Tensor:
    """[B, L], true at real positions."""
    return torch.arange(longest, device=lengths.device) < lengths[:, None]


def denoiser(model: Denoiser, memory: Memory, mask: Tensor, config: DecodingConfig) -> Denoise:
    """The network as the sampler sees it: fixed t and clamping applied. z_0_hat is 0 at padding."""

    def told(t: float) -> float:
        return (t if config.fixed_t is None else config.fixed_t * model.process.steps) * model.time_scale

    def clamped(found: Tensor) -> Tensor:
        return model.embedding(model.embedding.logits(found).argmax(-1)) if config.clamping else found

    def predict(z_t: Tensor, t: Tensor, mask: Tensor, memory: Memory, z_0_prev: Tensor | None) -> Tensor:
        return clamped(model.denoise(z_t, t, mask, memory, z_0_prev))

    return in_parts(model, memory, mask, predict, config.clamping, told)


def time(t: float, like: Tensor) -> Tensor:
    """A time for all rows, [1], where a tensor is."""
    return torch.full((1,), t, device=like.device, dtype=torch.float32)


Predict = Callable[[Tensor, Tensor, Tensor, Memory, Tensor | None], Tensor]
"""(z_t, what is told of t [1], mask, memory, z_0_prev) -> z_0_hat."""


def itself(t: float) -> float:
    """What the network is told of t where that is t."""
    return t


def in_parts(
    model: EncoderDecoder,
    memory: Memory,
    mask: Tensor,
    predict: Predict,
    key: Hashable,
    told: Callable[[float], float] = itself,
) -> Denoise:
    """predict, called for sentences of about one length, or within `replaying` over fixed shapes.

    z_0_hat is 0 at padding. key: what predict depends on beside its arguments and the model.
    """
    if (replays := current()) is not None:
        return replayed(replays, model, memory, mask, predict, key, told)
    parts = alike(memory, mask)
    if mask.device.type == "cpu":
        parts = [replace(part, memory=folded(model, part.memory)) for part in parts]

    def denoise(z_t: Tensor, t: float, z_0_prev: Tensor | None) -> Tensor:
        z_0_hat, now = torch.zeros_like(z_t), time(told(t), z_t)
        for part in parts:
            at = part.rows, slice(part.mask.shape[1])
            previous = None if z_0_prev is None else z_0_prev[at]
            z_0_hat[at] = predict(z_t[at], now, part.mask, part.memory, previous).to(z_0_hat.dtype)
        return z_0_hat

    return denoise


def replayed(
    replays: Replays,
    model: EncoderDecoder,
    memory: Memory,
    mask: Tensor,
    predict: Predict,
    key: Hashable,
    told: Callable[[float], float],
) -> Denoise:
    """predict over fixed shapes."""
    B, most, (BC, L) = len(memory.lengths), model.max_positions, mask.shape
    rows, length = rounded(B, ROWS), rounded(L, most=most)
    filled = memory.filled(rows, rounded(memory.mask.shape[-1], most=most))
    known = enlarged(mask, rows * BC // B, length), filled

    def call(known: tuple[Tensor, Memory], z_t: Tensor, t: Tensor, z_0_prev: Tensor | None) -> Tensor:
        mask, memory = known
        return predict(z_t, t, mask, memory, z_0_prev)

    again = replays.of(call, (model, key), known, (len(known[0]), length), (0.0, 0.0, 0.0))
    return lambda z_t, t, z_0_prev: again(z_t, time(told(t), z_t), z_0_prev).to(z_t.dtype)


def folded(model: EncoderDecoder, memory: Memory) -> Memory:
    """The memory as many steps look at it."""
    return replace(memory, layers=model.fold(memory.layers, memory.mask))


@dataclass(frozen=True)
class Part:
    """Candidates of some sentences of a batch. rows: theirs, [n C] (slice = all); mask: [n C, longest of them]."""

    rows: Tensor | slice
    mask: Tensor
    memory: Memory


def alike(memory: Memory, mask: Tensor) -> list[Part]:
    """The sentences of a batch in parts of about one length, so that little is computed at padding; mask: [B C, L].

    On a CPU alone: a GPU has enough room for the padding, and would wait for each part.
    """
    B = len(memory.lengths)
    C = len(mask) // B
    longest = mask.view(B, C, -1).sum(-1).amax(1)
    if mask.device.type != "cpu":
        return [Part(slice(None), mask, memory)]
    order = torch.argsort(longest, stable=True)
    cuts = packed([C * longest[order].numpy()], PART_TOKENS)
    if len(cuts) == 1:
        return [Part(slice(None), mask, memory)]
    parts = []
    for sentences in torch.tensor_split(order, cuts[1:]):
        rows = (sentences[:, None] * C + torch.arange(C)).flatten()
        parts.append(Part(rows, mask[rows, : int(longest[sentences].max())], memory.rows(sentences)))
    return parts


def read_out(model: Embeds, z_0_hat: Tensor, mask: Tensor) -> Candidates:
    """Most likely tokens of z_0_hat [B C, L, d_e] and their mean log-probability; PAD at padding."""
    tokens = torch.full(mask.shape, PAD, device=mask.device)
    log_p = torch.zeros(mask.shape, device=mask.device)
    tokens[mask], log_p[mask] = most_likely(z_0_hat[mask], model.embedding.output())
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
    z_0_hat = sample(SAMPLERS[config.sampler](visited), denoise, visited, z_T, noise, config.early_stop, hook)
    return read_out(model, z_0_hat, mask)
