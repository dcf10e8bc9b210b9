"""What decodings over tokens share: the lengths of the hypotheses, the network's answer, their scores, chance."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.candidates import Candidates
from core.diffusion.decoding import alike, length_mask
from core.diffusion.denoiser import LENGTH_CLASSES, Memory
from core.discrete.network import TokenNetwork
from core.networks.kernels import PIECE, product
from core.networks.replays import ROWS, Replays, current, rounded
from core.randomness import generator
from core.text.batches import Batch
from core.text.tokenizer import BOS, EOS, PAD


def lengths_around(network: TokenNetwork, memory: Memory, count: int, least: int) -> Tensor:
    """`count` lengths around the most likely one of each sentence, adjacent, [B count]; those too short come twice."""
    likely = (memory.length_logits.argmax(-1) - network.class_offset(memory)).clamp_min(least)
    offsets = torch.arange(count, device=likely.device) - count // 2
    return (likely[:, None] + offsets).flatten().clamp(least, network.max_positions)


def most_likely_lengths(network: TokenNetwork, memory: Memory, count: int, least: int) -> Tensor:
    """The `count` most likely lengths of each sentence, adjacent, [B count]."""
    classes = memory.length_logits.topk(min(count, LENGTH_CLASSES)).indices
    offset = network.class_offset(memory)
    lengths = classes - (offset if isinstance(offset, int) else offset[:, None])
    return lengths.flatten().clamp(least, network.max_positions)


def framed(lengths: Tensor, inner: int | Tensor) -> Tensor:
    """BOS, `inner` (a type, or types [N, L]), EOS, PAD: tokens [N, L] of these lengths [N], L the longest."""
    places = torch.arange(int(lengths.max()), device=lengths.device)
    last = lengths[:, None] - 1
    tokens = torch.full((len(lengths), len(places)), PAD, device=lengths.device)
    tokens = torch.where(places < last, inner, tokens)
    return torch.where(places == 0, BOS, torch.where(places == last, EOS, tokens))


Predict = Callable[[Tensor, Tensor | None], Tensor]
"""(tokens [N, L], t [1]) -> states [N, L, d]; 0 beyond the end of a hypothesis."""


def predictor(network: TokenNetwork, memory: Memory, lengths: Tensor) -> Predict:
    """The network for hypotheses of these lengths [N]: in parts of about one length, or over fixed shapes."""
    if (replays := current()) is not None:
        return replayed(replays, network, memory, lengths)
    parts = alike(memory, length_mask(lengths, int(lengths.max())))

    def predict(tokens: Tensor, t: Tensor | None) -> Tensor:
        if len(parts) == 1:
            return network.states(tokens, memory, t).float()
        states = memory.encoded.new_zeros((*tokens.shape, memory.encoded.shape[-1]), dtype=torch.float32)
        for part in parts:
            at = part.rows, slice(part.mask.shape[1])
            states[at] = network.states(tokens[at], part.memory, t).float()
        return states

    return predict


def replayed(replays: Replays, network: TokenNetwork, memory: Memory, lengths: Tensor) -> Predict:
    """The network over fixed shapes."""
    B, most = len(memory.lengths), network.max_positions
    rows, length = rounded(B, ROWS), rounded(int(lengths.max()), most=most)
    known = memory.filled(rows, rounded(memory.mask.shape[-1], most=most))

    def call(known: Memory, tokens: Tensor, t: Tensor | None) -> Tensor:
        return network.states(tokens, known, t)

    again = replays.of(call, network, known, (rows * len(lengths) // B, length), (PAD, 0))
    return lambda tokens, t: again(tokens, t).float()


class Chance:
    """Random numbers of a decoding, each asked for by what it is for."""

    def __init__(self, source: torch.Generator) -> None:
        self.source = source

    @classmethod
    def of(cls, batch: Batch, seed: int) -> "Chance":
        """That of a batch: the same for the same sentences."""
        shape, first = batch.source.shape, int(batch.source[0].sum())
        return cls(generator(batch.source.device, seed, "decode", *shape, first))

    def uniform(self, what: str, *shape: int) -> Tensor:
        """Numbers from 0 to 1."""
        return torch.rand(shape, generator=self.source, device=self.source.device)

    def types(self, what: str, log_p: Callable[[Tensor], Tensor], places: Tensor) -> Tensor:
        """Types [n], one drawn for each of places (bool [N, L], n are true), log_p(places) [n, V]."""
        logits = log_p(places)
        return (logits + gumbel(self.uniform(what, *logits.shape), 1e-10)).argmax(-1)


def gumbel(uniform: Tensor, tiny: float) -> Tensor:
    """Gumbel numbers from uniform ones; tiny keeps logarithms finite."""
    return -torch.log(-torch.log(uniform + tiny) + tiny)


@dataclass(frozen=True)
class Reader:
    """Types of the highest probability, or drawn by it. barred: types that count with the logit `at`.

    temperature: 0 takes the most likely type, else one is drawn from softmax(log p / temperature).
    """

    network: TokenNetwork
    barred: Sequence[int]
    at: float = -torch.inf
    temperature: float = 0.0
    chance: Chance | None = None

    def log_p(self, states: Tensor) -> Tensor:
        """log p of all types, [n, V], for states [n, d]."""
        logits = product(states.float(), self.network.embedding.output())
        logits[:, list(self.barred)] = self.at
        return logits.log_softmax(-1)

    def __call__(self, states: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """Types [N, L] and their log p [N, L] at places (bool [N, L]); PAD and 0 elsewhere."""
        tokens = torch.full(places.shape, PAD, device=places.device)
        log_p = torch.zeros(places.shape, device=places.device)
        pieces = states[places].split(PIECE if places.device.type == "cpu" else max(places.numel(), 1))
        with torch.autocast(places.device.type, enabled=False):
            found = [self.pick(self.log_p(piece)) for piece in pieces]
        tokens[places], log_p[places] = (torch.cat(each) for each in zip(*found, strict=True))
        return tokens, log_p

    def pick(self, log_p: Tensor) -> tuple[Tensor, Tensor]:
        """A type of each row of [n, V], and its log p."""
        if self.temperature == 0.0 or self.chance is None:
            best, tokens = log_p.max(-1)
            return tokens, best
        drawn = self.chance.uniform("type", *log_p.shape)
        tokens = (log_p / self.temperature + gumbel(drawn, 1e-10)).argmax(-1)
        return tokens, log_p.gather(1, tokens[:, None])[:, 0]


def special(tokens: Tensor) -> Tensor:
    """True at BOS, PAD and EOS."""
    return (tokens == BOS) | (tokens == PAD) | (tokens == EOS)


def lowest(scores: Tensor, among: Tensor, count: Tensor) -> Tensor:
    """True at the count [N] lowest scores [N, L] of each row among some places (bool [N, L]), or at all."""
    order = scores.masked_fill(~among, torch.inf).argsort(dim=1, stable=True)
    return (order.argsort(1) < count[:, None]) & among


def share_of(count: Tensor, share: float) -> Tensor:
    """floor(count * share), multiplied in float32 as in the released code: 10 (1 - 4/5) gives 2 there, 1 in double."""
    return (count.float() * torch.tensor(share, dtype=torch.float32)).long()


def hypotheses(tokens: Tensor, lengths: Tensor, log_p: Tensor, counted: Tensor) -> Candidates:
    """Candidates, compared by their mean log p [N, L] over the places that count (bool [N, L]); 0 if there are none."""
    total = torch.where(counted, log_p, 0.0).sum(1)
    return Candidates(tokens, length_mask(lengths, tokens.shape[1]), total / counted.sum(1).clamp_min(1))
