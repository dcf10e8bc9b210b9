"""Mask-predict: write all tokens, mask those that the network is least sure of, write these anew (Ghazvininejad et al.
2019). Both released forms: fairseq's CMLM, and Mask-Predict itself, for which EOS is a token like others."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from core.diffusion.decoding import length_mask
from core.discrete.decoding import Chance, Predict, Reader, framed, lowest, share_of
from core.text.tokenizer import PAD

LAST_TIME = 1e-5
"""The time that the released steps end at (kuleshov-group/mdlm)."""


@dataclass(frozen=True)
class Passes:
    """How often the network is asked. with_end: EOS is masked and written too, and at least one token each time.

    stop_when_same: a hypothesis ends when a pass leaves it as it was, masks included. keep: what is left once stays.
    """

    steps: int
    with_end: bool = False
    stop_when_same: bool = False
    keep: bool = False


@dataclass(frozen=True)
class Pass:
    """What one pass did, all [N, L], of hypotheses that are active [N]: tokens given, filled in, left with masks.

    log_p: of the tokens left, 0 at masks and at those never written.
    """

    index: int
    given: Tensor
    states: Tensor
    filled: Tensor
    left: Tensor
    log_p: Tensor
    active: Tensor


def silent(done: Pass) -> None:
    """Looks at nothing."""


def mask_predict(
    predict: Predict,
    reader: Reader,
    lengths: Tensor,
    mask_type: int,
    passes: Passes,
    on_pass: Callable[[Pass], None] = silent,
) -> tuple[Tensor, Tensor]:
    """Tokens and their log p, both [N, L], of hypotheses of these lengths [N], BOS and EOS included.

    Of S passes, pass s leaves floor(n (1 - (s + 1) / S)) of n tokens masked.
    """
    inner = may_be_masked(lengths, passes.with_end)
    tokens = framed(lengths, mask_type).masked_fill(inner, mask_type)
    log_p = torch.zeros(tokens.shape, device=tokens.device)
    active = torch.ones(len(tokens), dtype=torch.bool, device=tokens.device)
    for index in range(passes.steps):
        given, open_ = tokens, (tokens == mask_type) & active[:, None]
        states = predict(given, None)
        found, sure = reader(states, open_)
        filled, log_p = torch.where(open_, found, given), torch.where(open_, sure, log_p)
        tokens = filled
        if index + 1 < passes.steps:
            among = (open_ if passes.keep else inner) & active[:, None]
            again = lowest(log_p, among, masked_again(filled, lengths, index + 1, passes))
            tokens, log_p = filled.masked_fill(again, mask_type), log_p.masked_fill(again, 0.0)
        on_pass(Pass(index, given, states, filled, tokens, log_p, active))
        if passes.stop_when_same:
            active = active & (tokens != given).any(1)
            if not bool(active.any()):
                break
    return tokens, log_p


def unmask_by_chance(
    predict: Predict,
    reader: Reader,
    lengths: Tensor,
    mask_type: int,
    steps: int,
    chance: Chance,
    on_pass: Callable[[Pass], None] = silent,
    removal: bool = False,
) -> tuple[Tensor, Tensor]:
    """From masks at t = 1 to text at t = 0 in equal steps: from t to s a mask becomes a word with probability
    (t - s) / t (Sahoo et al. 2024). The network is asked only where something has changed since it was; the last masks
    become the most likely words: in the last step, or, with removal, in one more after steps from 1 to LAST_TIME."""
    last, per_time = steps - (not removal), steps / (1 - LAST_TIME * removal)
    tokens = framed(lengths, mask_type)
    log_p, changed = torch.zeros(tokens.shape, device=tokens.device), True
    active, states = torch.ones(len(tokens), dtype=torch.bool, device=tokens.device), torch.empty(0)
    for index in range(last + 1):
        given, open_ = tokens, tokens == mask_type
        if index == steps and not bool(open_.any()):
            break
        if changed:
            states = predict(given, None)
        found, sure = (reader if index < last else replace(reader, temperature=0.0))(states, open_)
        share = 1 / (per_time - index) if index < last else 1.0
        now = open_ & (chance.uniform("unmask", *tokens.shape) < share)
        tokens, log_p = torch.where(now, found, given), torch.where(now, sure, log_p)
        on_pass(Pass(index, given, states, torch.where(open_, found, given), tokens, log_p, active))
        changed = bool(now.any())
    return tokens, log_p


def may_be_masked(lengths: Tensor, with_end: bool) -> Tensor:
    """True at the places of words, and of EOS with_end, [N, L]."""
    longest = int(lengths.max())
    inner = length_mask(lengths if with_end else lengths - 1, longest)
    inner[:, 0] = False
    return inner


def masked_again(tokens: Tensor, lengths: Tensor, index: int, passes: Passes) -> Tensor:
    """How many are masked for pass `index`, [N], of tokens [N, L] that are written; BOS does not count.

    fairseq's: PAD that was written is no token, nor is EOS. Mask-Predict's: of the length [N] that there was at first.
    """
    count = lengths - 1 if passes.with_end else (tokens != PAD).sum(1) - 2
    again = share_of(count.clamp_min(0), 1 - index / passes.steps)
    return again.clamp_min(1) if passes.with_end else again
