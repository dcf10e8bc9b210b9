"""Noise over tokens, in T steps: masks (absorbing), or other words (multinomial).

Both noise a sentence at K times at once: at one, or at two (coupled) of which the less noised is drawn given the more
noised. Austin et al. 2021, Hoogeboom et al. 2021; the coupling, schedules and constants are those of the released RDM
(Zheng et al. 2023). abar_t is the probability that a word is as it was after t + 1 steps.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from core.discrete.decoding import Chance, framed, gumbel
from core.text.tokenizer import BOS, EOS, PAD

BARRED = -30.0
"""The logit of BOS, PAD and EOS, which multinomial noise and its network do not write (released)."""
LEAST = 1e-30
"""What stands for a probability of zero (released)."""
SPECIAL = [BOS, PAD, EOS]


@dataclass(frozen=True)
class NoisedTokens:
    """Tokens [B, K, L] and where noise took effect (bool)."""

    tokens: Tensor
    places: Tensor


class Noise(Protocol):
    """A noise process over tokens. T: steps."""

    T: int

    def shape(self, B: int, L: int, K: int) -> tuple[int, ...]:
        """Of the uniform numbers that `noised` takes."""

    def noised(self, x_0: Tensor, may: Tensor, t: Tensor, u: Tensor) -> NoisedTokens:
        """x_0 [B, L] at times t [B, K], falling, with uniform numbers u; places outside may (bool [B, L]) stay."""

    def start(self, lengths: Tensor, chance: Chance, distinct: bool) -> Tensor:
        """Pure noise between BOS and EOS, [N, L]."""

    def noisy(self, tokens: Tensor, inner: Tensor) -> Tensor:
        """Which tokens [N, L] may still be noise, among inner places (bool)."""

    def drawn(self, tokens: Tensor, places: Tensor, t: int, s: int, chance: Chance) -> Tensor:
        """New noise for tokens [N, L] at n places (bool), as much as lies between times s < t, types [n]."""


class Absorbing(nn.Module):
    """A token becomes the mask and stays it: after t + 1 of T steps with probability (t + 1) / T."""

    def __init__(self, T: int, mask_type: int) -> None:
        super().__init__()
        self.T, self.mask_type = T, mask_type

    def shape(self, B: int, L: int, K: int) -> tuple[int, ...]:
        """One number a token and time."""
        return B, L, K

    def noised(self, x_0: Tensor, may: Tensor, t: Tensor, u: Tensor) -> NoisedTokens:
        """Masks at the later time, of which the earlier one keeps some; drawn apart where both are the same."""
        done = (t + 1).float()[:, :, None]
        u = u.transpose(1, 2)
        masks = [u[:, 0] < done[:, 0] / self.T]
        for k in range(1, t.shape[1]):
            a, b = done[:, k - 1], done[:, k]
            masks.append(torch.where(a == b, u[:, k] < b / self.T, masks[-1] & (u[:, k] > (a - b) / a)))
        places = torch.stack(masks, 1) & may[:, None]
        return NoisedTokens(x_0[:, None].masked_fill(places, self.mask_type), places)

    def start(self, lengths: Tensor, chance: Chance, distinct: bool) -> Tensor:
        """Masks."""
        return framed(lengths, self.mask_type)

    def noisy(self, tokens: Tensor, inner: Tensor) -> Tensor:
        """Masks."""
        return tokens == self.mask_type

    def drawn(self, tokens: Tensor, places: Tensor, t: int, s: int, chance: Chance) -> Tensor:
        """Masks."""
        return tokens[places].fill_(self.mask_type)


class Multinomial(nn.Module):
    """A word becomes another one, drawn from q: uniform over all types but BOS, PAD and EOS; cosine schedule."""

    log_q: Tensor
    log_alpha: Tensor
    log_abar: Tensor
    log_1_min_abar: Tensor
    special: Tensor

    def __init__(self, T: int, vocab: int) -> None:
        super().__init__()
        self.T, self.vocab = T, vocab
        alpha = cosine_alphas(T)
        abar = np.cumprod(alpha)
        weights = torch.ones(vocab)
        weights[SPECIAL] = LEAST
        tables = {
            "log_q": (weights.log() / 1.5).log_softmax(0),
            "log_alpha": torch.from_numpy(np.log(alpha)).float(),
            "log_abar": torch.from_numpy(np.log(abar)).float(),
            "log_1_min_abar": torch.from_numpy(np.log(1 - abar + 1e-9)).float(),
        }
        for name, table in tables.items():
            self.register_buffer(name, table, persistent=False)
        self.register_buffer("special", weights < 1, persistent=False)

    def shape(self, B: int, L: int, K: int) -> tuple[int, ...]:
        """One number a type."""
        return B, L, K, self.vocab

    def noised(self, x_0: Tensor, may: Tensor, t: Tensor, u: Tensor) -> NoisedTokens:
        """Words drawn at the later time; at the earlier one given these, and apart where both are the same."""
        made: list[Tensor] = []
        for k in range(t.shape[1]):
            logits = self.marginal(x_0, t[:, k])
            if k:
                same = (t[:, k] == t[:, k - 1])[:, None, None]
                logits = torch.where(same, logits, self.between(made[-1], x_0, t[:, k - 1], t[:, k]))
            made.append(torch.where(may, (logits + gumbel(u[:, :, k], 1e-10)).argmax(-1), x_0))
        tokens = torch.stack(made, 1)
        return NoisedTokens(tokens, tokens != x_0[:, None])

    def marginal(self, x_0: Tensor, t: Tensor) -> Tensor:
        """log q(x_t | x_0), [B, L, V], without special types; for x_0 [B, L] and t [B]."""
        kept, gone = (table[t][:, None, None] for table in (self.log_abar, self.log_1_min_abar))
        return self.without_special(torch.logaddexp(self.one(x_0) + kept, gone + self.log_q))

    def between(self, x_t: Tensor, x_0: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """log q(x_s | x_t, x_0), [B, L, V], without special types; for times s < t, both [B]."""
        now, before = (self.log_abar[time][:, None, None] for time in (t, s))
        r, q = now - before, self.log_q
        f_t, f_0, f_u = r + log_1_min(now - r), before + log_1_min(now - before), log_1_min(r) + log_1_min(before)
        same = self.one(x_0) + torch.logaddexp(now - q, torch.logaddexp(f_t, f_0))
        other = torch.logaddexp(self.one(x_t) + f_t, self.one(x_0) + f_0)
        found = torch.logaddexp(torch.where((x_t == x_0)[:, :, None], same, other), q + f_u)
        return self.without_special(found).log_softmax(-1)

    def posterior(self, x_t: Tensor, log_x_0: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """log of sum over x_0 of q(x_s | x_t, x_0), x_0 by log p [n, V] (Hoogeboom et al. 2021, eq. 13): [n, V].

        x_t, t, s: [n]; s = -1 is before any noise.
        """
        now = self.log_abar[t]
        before = torch.where(s < 0, 0.0, self.log_abar[s.clamp_min(0)])
        r = (now - before)[:, None]
        step = torch.logaddexp(self.one(x_t) + r, log_1_min(r) + self.log_q[x_t][:, None])
        prior = torch.logaddexp(log_x_0 + before[:, None], log_1_min(before[:, None]) + self.log_q)
        return (step + prior).log_softmax(-1)

    def start(self, lengths: Tensor, chance: Chance, distinct: bool) -> Tensor:
        """Words from q; distinct: no type twice, as released, which fails where sentences are longer than types are
        many."""
        N, L = len(lengths), int(lengths.max())
        if not distinct:
            everywhere = torch.ones(N, L, dtype=torch.bool, device=lengths.device)
            types = chance.types("start", lambda places: self.log_q.expand(N * L, -1), everywhere)
            return framed(lengths, types.view(N, L))
        noisy = self.log_q + gumbel(chance.uniform("start", N, self.vocab), 1e-8)
        order = chance.uniform("start_order", N, L).argsort(-1)
        return framed(lengths, noisy.topk(L, -1).indices.gather(1, order))

    def noisy(self, tokens: Tensor, inner: Tensor) -> Tensor:
        """Any of them."""
        return inner

    def drawn(self, tokens: Tensor, places: Tensor, t: int, s: int, chance: Chance) -> Tensor:
        """Words from q(x_t | x_s), with the token as x_s."""
        r = self.log_abar[t] - (self.log_abar[s] if s >= 0 else 0.0)

        def log_p(places: Tensor) -> Tensor:
            return torch.logaddexp(self.one(tokens[places]) + r, self.log_q + log_1_min(r))

        return chance.types("noise", log_p, places)

    def one(self, tokens: Tensor) -> Tensor:
        """log of one-hot rows, [..., V]."""
        types = torch.arange(self.vocab, device=tokens.device)
        return torch.where(tokens[..., None] == types, 0.0, math.log(LEAST))

    def without_special(self, logits: Tensor) -> Tensor:
        """The logits with those of special types at BARRED."""
        return logits.masked_fill(self.special, BARRED)


def log_1_min(log_p: Tensor) -> Tensor:
    """log(1 - p), finite."""
    return torch.log(1 - log_p.exp() + 1e-6)


def cosine_alphas(T: int) -> np.ndarray:
    """alpha_0 .. alpha_{T-1} of the cosine schedule (Nichol and Dhariwal 2021; Hoogeboom et al. 2021), in double."""
    x = np.arange(T + 1) * (T + 1) / T
    kept = np.cos((x / (T + 1) + 0.008) / 1.008 * math.pi / 2) ** 2
    kept = kept / kept[0]
    return np.clip(kept[1:] / kept[:-1], 0.001, 1.0)
