"""Decoding by routing: which tokens stay, and which become noise again (Zheng et al. 2023)."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from core.discrete.decoding import Chance, Predict, Reader, gumbel, share_of, special
from core.discrete.mask_predict import may_be_masked
from core.discrete.noise import Multinomial, Noise
from core.discrete.options import Routing
from core.text.tokenizer import PAD

LOOSE = 1e-10
FIXED = 1000.0
"""What stands for the certainty of a token that is never noise again (released)."""


@dataclass(frozen=True)
class Written:
    """The state after a step, all [N, L]: tokens, their log p, which of them are noise; what the network said.

    t: the time that it was told; before: what it was given.
    """

    t: int
    before: Tensor
    states: Tensor
    tokens: Tensor
    log_p: Tensor
    noise: Tensor
    found: Tensor
    sure: Tensor


def silent(done: Written) -> None:
    """Looks at nothing."""


def time_grid(T: int, S: int) -> list[int]:
    """S + 1 times from T to 0; the first T mod S of the S steps are one longer than the others."""
    q, r = divmod(T, S)
    return [T - i * (q + 1) for i in range(r)] + [q * (S - i) for i in range(r, S + 1)]


class Router:
    """Goes from noise to text. config: the options of a decoding by routing."""

    def __init__(self, process: Noise, predict: Predict, reader: Reader, config: Routing, chance: Chance) -> None:
        self.process, self.predict, self.reader = process, predict, reader
        self.config, self.chance = config, chance

    def write(self, lengths: Tensor, on_step: Callable[[Written], None] = silent) -> tuple[Tensor, Tensor]:
        """Tokens and their log p, both [N, L], of hypotheses of these lengths [N]."""
        config, points = self.config, time_grid(self.process.T, self.config.passes)
        tokens = self.process.start(lengths, self.chance, config.distinct_start)
        noise = inner = may_be_masked(lengths, with_end=False)
        log_p = torch.zeros(tokens.shape, device=tokens.device)
        for index, (t, s) in enumerate(pairwise(points)):
            before, told = tokens, t if config.late_time else t - 1
            states = self.predict(tokens, torch.full((1,), told, device=tokens.device))
            found, sure = self.read(states, tokens)
            if config.routing == "vanilla":
                noise = self.process.noisy(tokens, inner)
                tokens, log_p = self.denoised(states, tokens, noise, found, t, s), sure
            else:
                low, again = self.routed(tokens, log_p, found, sure, index)
                fresh, clean = (noise & low) | (~noise & again), noise & ~low
                tokens = torch.where(clean, found, self.with_noise(tokens, fresh, t, s))
                log_p = torch.where(clean, sure, log_p.masked_fill(fresh, -torch.inf))
                noise = (noise | again) & low
            on_step(Written(told, before, states, tokens, log_p, noise, found, sure))
        return tokens, log_p

    def read(self, states: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """What the network would write and its log p, [N, L]; multinomial: special types as they are."""
        found, sure = self.reader(states, tokens != PAD)
        if isinstance(self.process, Multinomial):
            fixed = special(tokens)
            return torch.where(fixed, tokens, found), sure.masked_fill(fixed, 0.0)
        return found, sure

    def denoised(self, states: Tensor, tokens: Tensor, noise: Tensor, found: Tensor, t: int, s: int) -> Tensor:
        """Tokens at time s drawn as the noise process says, given that those found are right."""
        if isinstance(self.process, Multinomial) and s > 0:
            process = self.process

            def log_p(places: Tensor) -> Tensor:
                now, then = (torch.full((1,), time - 1, device=tokens.device) for time in (t, s))
                return process.posterior(tokens[places], self.reader.log_p(states[places]), now, then)

            made = tokens.clone()
            made[noise] = self.chance.types("posterior", log_p, noise)
            return made
        known = noise & (self.chance.uniform("unmask", *tokens.shape) < (t - s) / t)
        return torch.where(known, found, tokens)

    def routed(self, tokens: Tensor, log_p: Tensor, found: Tensor, sure: Tensor, index: int) -> tuple[Tensor, Tensor]:
        """The k tokens that the network is least sure of, and those of them that may become noise again, [N, L]."""
        config, words = self.config, ~special(tokens)
        share = 1 - (index + 1) / config.passes
        if config.routing_schedule == "cosine":
            share = math.cos(math.pi / 2 * (index + 1) / config.passes)
        key = torch.where(words, sure, FIXED)
        if config.routing_noise:
            key = key + config.routing_noise * share * gumbel(self.chance.uniform("topk", *tokens.shape), 1e-8)
        k = share_of(words.sum(1), share)
        cut = key.sort(1).values.gather(1, k[:, None])
        low = key < (cut + LOOSE if config.loose_cut else cut)
        less_sure = (found == tokens) & (sure < log_p)
        return low, low & less_sure if config.routing == "cond" else low

    def with_noise(self, tokens: Tensor, places: Tensor, t: int, s: int) -> Tensor:
        """Tokens with new noise at places (bool [N, L])."""
        made = tokens.clone()
        made[places] = self.process.drawn(tokens, places, t - 1, s - 1, self.chance)
        return made
