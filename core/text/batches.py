"""Sentences as token ids, in batches of a token budget with little padding.

A source is its tokens and EOS, a target is BOS, its tokens and EOS. Which sentences make up the batch of a step is a
function of (seed, step) alone, so a run can be resumed, or looked at, at any step.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.errors import UserError
from core.text.corpus import Pairs
from core.text.tokenizer import BOS, EOS, PAD, Tokenizer


@dataclass(frozen=True, eq=False)
class Batch:
    """B sentence pairs. source [B, S], target [B, L]: int64, padded with PAD on the right.

    target_tokens: N, BOS and EOS included, padding not.
    positions: indices of the N real target tokens in the flattened [B * L]. None in a batch of a fixed shape (`fill`):
    nothing is picked out of it, and rows [B] says which of its rows are sentences.
    """

    source: Tensor
    target: Tensor
    target_tokens: int
    positions: Tensor | None
    rows: Tensor | None = None

    @staticmethod
    def padded(source: Tensor, target: Tensor) -> "Batch":
        """A batch of padded token ids."""
        positions = (target != PAD).flatten().nonzero().squeeze(1)
        return Batch(source, target, len(positions), positions)

    @cached_property
    def source_mask(self) -> Tensor:
        """True at real source tokens, [B, S]."""
        return self.source != PAD

    @cached_property
    def target_mask(self) -> Tensor:
        """True at real target tokens, [B, L]."""
        return self.target != PAD

    def real(self, values: Tensor) -> Tensor:
        """The values [B, L, ...] at real target tokens, [N, ...]; without waiting for the device.

        In a batch of a fixed shape those at all positions, [B L, ...]; `counted(target_mask)` says which are real.
        """
        flat = values.flatten(0, 1)
        whole = self.positions is None or len(flat) == len(self.positions)
        return flat if whole else flat[self.positions]

    def pick(self, values: Tensor, mask: Tensor) -> Tensor:
        """The values [B, L, ...] where a mask [B, L] is true, [n, ...]; in a batch of a fixed shape all, [B L, ...]."""
        return values[mask] if self.positions is not None else values.flatten(0, 1)

    def counted(self, mask: Tensor) -> Tensor | None:
        """Which of the elements that `pick` gives for this mask [B, L] count: None = all; else bool [B L]."""
        return None if self.rows is None else (mask & self.rows[:, None]).flatten()

    def to(self, device: torch.device | str) -> "Batch":
        """The batch on a device; to a GPU without waiting for it."""
        device = torch.device(device)
        pinned = device.type == "cuda" and self.source.device.type == "cpu"

        def moved(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            return (value.pin_memory() if pinned else value).to(device, non_blocking=True)

        return Batch(*(moved(getattr(self, each.name)) for each in dataclasses.fields(self)))


@dataclass(frozen=True, eq=False)
class Ragged:
    """Rows of different lengths in one array: row i is values[offsets[i] : offsets[i + 1]]."""

    values: np.ndarray
    offsets: np.ndarray

    @staticmethod
    def of(rows: Sequence[Sequence[int]]) -> "Ragged":
        """From lists."""
        offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows], dtype=np.int64)]).astype(np.int64)
        values = np.fromiter((index for row in rows for index in row), dtype=np.int32, count=int(offsets[-1]))
        return Ragged(values, offsets)

    @cached_property
    def lengths(self) -> np.ndarray:
        """Length of each row."""
        return np.diff(self.offsets)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    def rows(self, indices: np.ndarray) -> "Ragged":
        """Some rows alone, in this order."""
        return Ragged.of([self[i].tolist() for i in indices])

    def padded(self, indices: np.ndarray) -> Tensor:
        """Some rows as an int64 tensor, padded on the right to the longest of them."""
        lengths, starts = self.lengths[indices], self.offsets[indices]
        columns = np.arange(int(lengths.max()))
        real = columns < lengths[:, None]
        table = np.full(real.shape, PAD, dtype=np.int64)
        table[real] = self.values[(starts[:, None] + columns)[real]]
        return torch.from_numpy(table)

    def counts(self, size: int) -> np.ndarray:
        """How often each of `size` types occurs, BOS and EOS included, int64 [size]."""
        return np.bincount(self.values, minlength=size)


@dataclass(frozen=True, eq=False)
class Encoded:
    """A split as token ids. kept: index in the split of each pair here, [n]; dropped: {why: number} of the others."""

    source: Ragged
    target: Ragged
    kept: np.ndarray
    dropped: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.kept)

    def batch(self, indices: Sequence[int] | np.ndarray) -> Batch:
        """These pairs (counted here, not in the split) as a batch."""
        picked = np.asarray(indices)
        return Batch.padded(self.source.padded(picked), self.target.padded(picked))

    def subset(self, indices: Sequence[int] | np.ndarray | range) -> "Encoded":
        """These pairs alone, in this order."""
        picked = np.asarray(indices, dtype=np.int64)
        return Encoded(self.source.rows(picked), self.target.rows(picked), self.kept[picked])


def encode(pairs: Pairs, tokenizer: Tokenizer, max_length: int, split: str = "train") -> Encoded:
    """Token ids of the pairs. One with a side of more than max_length ids, specials included, is dropped and counted.

    Raises UserError if no pair is left.
    """
    sources = [[*ids, EOS] for ids in tokenizer.encode_many([source for source, _ in pairs])]
    targets = [[BOS, *ids, EOS] for ids in tokenizer.encode_many([target for _, target in pairs])]
    long_source = np.array([len(ids) > max_length for ids in sources], dtype=bool)
    long_target = np.array([len(ids) > max_length for ids in targets], dtype=bool) & ~long_source
    kept = np.flatnonzero(~(long_source | long_target))
    if len(kept) == 0:
        raise UserError(f"{split}: none of the {len(pairs)} pairs fits into {max_length} tokens; raise max_length")
    counted = {"source": int(long_source.sum()), "target": int(long_target.sum())}
    dropped = {f"{split}: {side} longer than {max_length} tokens": n for side, n in counted.items() if n}
    return Encoded(Ragged.of([sources[i] for i in kept]), Ragged.of([targets[i] for i in kept]), kept, dropped)


def permutation(count: int, *key: int) -> np.ndarray:
    """A random order of 0..count - 1 from a key; the same with every version of numpy."""
    drawn = np.random.PCG64(np.random.SeedSequence([part % 2**64 for part in key])).random_raw(count)
    return np.argsort(drawn, kind="stable")


def by_length(encoded: Encoded, order: np.ndarray) -> np.ndarray:
    """The order, sorted by the longer side alone; ties stay as they come.

    Sorting by target length first pads a little less on one side, but then a batch holds one length offset only
    (measured on Multi30k: 96 % of its variance lies between batches, here 9 %), and the length head swings with every
    batch.
    """
    longer = np.maximum(encoded.target.lengths[order], encoded.source.lengths[order])
    return order[np.argsort(longer, kind="stable")]


def packed(lengths: Sequence[np.ndarray], batch_tokens: int) -> list[int]:
    """First places of batches of neighbours, as many as keep rows * longest <= batch_tokens for all `lengths`.

    A row longer than batch_tokens is a batch of its own.
    """
    starts, rows, longest = list[int](), 0, 0
    for place, length in enumerate(np.max(lengths, axis=0).tolist()):
        longest = max(longest, length)
        if rows == 0 or (rows + 1) * longest > batch_tokens:
            starts.append(place)
            rows, longest = 0, length
        rows += 1
    return starts


class BatchStream:
    """The batches of training: `at(step)` for any step. An epoch holds every pair once, in len(stream) batches.

    The sorted lengths are the same in each epoch, hence so are the cuts between batches; which of the pairs of equal
    length fall together, and the order of the batches, are drawn anew from (seed, epoch).
    """

    def __init__(self, encoded: Encoded, batch_tokens: int, seed: int) -> None:
        if batch_tokens < 1:
            raise UserError(f"option batch_tokens: {batch_tokens} is not a number of tokens; at least 1")
        self.encoded, self.seed = encoded, seed
        order = by_length(encoded, np.arange(len(encoded)))
        self.cuts = packed([encoded.target.lengths[order], encoded.source.lengths[order]], batch_tokens)
        self.planned, self.plan = -1, list[np.ndarray]()

    def __len__(self) -> int:
        return len(self.cuts)

    def epoch(self, epoch: int) -> list[np.ndarray]:
        """Indices of the pairs of each batch of an epoch: each pair once."""
        order = by_length(self.encoded, permutation(len(self.encoded), self.seed, epoch, 0))
        batches = np.split(order, self.cuts[1:])
        return [batches[i] for i in permutation(len(batches), self.seed, epoch, 1)]

    def at(self, step: int) -> Batch:
        """The batch of a step, counted from 0 over all epochs."""
        epoch, position = divmod(step, len(self))
        if epoch != self.planned:
            self.planned, self.plan = epoch, self.epoch(epoch)
        return self.encoded.batch(self.plan[position])

    @cached_property
    def target_types(self) -> Tensor:
        """The types that occur in the targets, by rising id: those whose embeddings are diffused, int64 [n]."""
        return torch.from_numpy(np.unique(self.encoded.target.values).astype(np.int64))


def decode_batches(encoded: Encoded, batch_tokens: int) -> Iterator[tuple[list[int], Batch]]:
    """(indices, batch) of all pairs, longest sources first; padded source tokens <= batch_tokens.

    Batches depend on the sources alone: what is decoded must not depend on the references.
    """
    order = np.argsort(-encoded.source.lengths, kind="stable")
    for indices in np.split(order, packed([encoded.source.lengths[order]], max(batch_tokens, 1))[1:]):
        yield indices.tolist(), encoded.batch(indices)
