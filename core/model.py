"""A network in evaluation mode with what it takes to write text with it, by any method: decode, choose among the
candidates, in the order of the sentences."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from core.checks import check
from core.config import RunConfig, with_values
from core.errors import UserError
from core.methods.method import Method
from core.networks.replays import Replays, replaying
from core.options import values_of
from core.precision import autocast
from core.scoring.tokenizers import USUAL
from core.text.batches import Batch, decode_batches, encode
from core.text.tokenizer import Tokenizer

DECODE_TOKENS, GPU_DECODE_TOKENS = 4096, 32768
"""Source tokens of a decoding batch, over the number of candidates. A GPU is twice as fast with many."""


def batch_tokens(method: Method[Any], decoding: Any, device: torch.device) -> int:
    """Source tokens of a batch for a decoding."""
    return (GPU_DECODE_TOKENS if device.type == "cuda" else DECODE_TOKENS) // method.count(decoding)


class Written(NamedTuple):
    """A candidate: its text, and its score by the model, the mean log-probability of its tokens."""

    text: str
    score: float


@dataclass(frozen=True)
class Model:
    """A network in evaluation mode with what it takes to use it. decoding: as its own options say. bleu_tokenizer: for
    the choice among candidates by BLEU-MBR, as in training. replays: the recordings of the network's calls."""

    method: Method[Any]
    network: Any
    config: RunConfig
    tokenizer: Tokenizer
    bleu_tokenizer: str = USUAL
    replays: Replays | None = None

    @property
    def decoding(self) -> Any:
        """The decoding that its own options say; None if the method has no options of decoding."""
        return getattr(self.config.method, "decoding", None)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        found: torch.device = next(self.network.parameters()).device
        return found

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """The context in which the network decodes: its precision, its recordings."""
        with autocast(self.config, self.device, decoding=True), replaying(self.replays):
            yield

    def translate(self, lines: Sequence[str], decoding: Any = None, seed: int = 1) -> list[str]:
        """The text of each source sentence. decoding: another one than the model's own.

        Raises UserError if a sentence is too long, and on a decoding that no run can have.
        """
        return [found[0].text for found in self.candidates(lines, decoding, seed)]

    def candidates(
        self,
        lines: Sequence[str],
        decoding: Any = None,
        seed: int = 1,
        done: Callable[[int], None] = lambda count: None,
    ) -> list[list[Written]]:
        """All that is written for each sentence, the chosen text first. done(count): called after each batch.

        Raises UserError as `translate` does.
        """
        if decoding is not None:
            check(with_values(self.config, values_of(decoding, all_of_them=True)))
        decoding = decoding or self.decoding
        if not lines:
            return []
        if count := sum(length > self.longest for length in self.lengths(lines)):
            message = f"source longer than {self.longest + 1} tokens: {count} sentences; shorten or split them"
            raise UserError(message)
        encoded = encode([(line, "") for line in lines], self.tokenizer, self.longest + 1, "source")
        found: dict[int, list[Written]] = {}
        for part in self.write(
            decode_batches(encoded, batch_tokens(self.method, decoding, self.device)), decoding, seed
        ):
            found |= part
            done(len(part))
        return [found[index] for index in range(len(lines))]

    def texts(self, batches: Iterable[tuple[list[int], Batch]], decoding: Any, seed: int) -> dict[int, str]:
        """{index: text} of each sentence; its index comes with its batch."""
        made = self.write(batches, decoding, seed)
        return {index: found[0].text for batch in made for index, found in batch.items()}

    @torch.no_grad()
    def write(
        self, batches: Iterable[tuple[list[int], Batch]], decoding: Any, seed: int
    ) -> Iterator[dict[int, list[Written]]]:
        """For each batch {index: candidates} of its sentences, the chosen one first, the others by their score; the
        index comes with the batch."""
        count, choose = self.method.count(decoding), self.method.choice(decoding, self.bleu_tokenizer)
        for indices, batch in batches:
            with self.at_work():
                found = self.method.decode(self.network, batch.to(self.device), decoding, seed)
            scores, decoded = found.score.tolist(), [self.tokenizer.decode(ids) for ids in found.ids()]
            written: dict[int, list[Written]] = {}
            for row, index in enumerate(indices):
                group = slice(row * count, (row + 1) * count)
                made = list(map(Written, decoded[group], scores[group]))
                chosen = choose(decoded[group], scores[group]) if count > 1 else 0
                others = made[:chosen] + made[chosen + 1 :]
                written[index] = [made[chosen], *sorted(others, key=lambda one: -one.score)]
            yield written

    @property
    def longest(self) -> int:
        """Most tokens of a source sentence; EOS comes with them."""
        return int(self.network.max_positions) - 1

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text."""
        return [len(ids) for ids in self.tokenizer.encode_many(list(texts))]
