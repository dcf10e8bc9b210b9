"""Text made ready: the corpus, its tokenizer and the encoded splits, made once a process."""

import sys
from dataclasses import dataclass
from functools import lru_cache

import torch

from core.errors import UserError
from core.scoring.tokenizers import Chosen, choose
from core.sections import DataConfig
from core.text import batches, corpus, tokenizer


@dataclass(frozen=True)
class Split:
    """A held-out split: the pairs that the model can take, as text and as tensors, row for row."""

    pairs: corpus.Pairs
    encoded: batches.Encoded
    several: list[list[str]] | None = None
    """All references of each pair, where the text has more than the target side."""

    @property
    def sources(self) -> list[str]:
        """The source side."""
        return [source for source, _ in self.pairs]

    @property
    def references(self) -> list[list[str]]:
        """The references of each pair: the target side, or all there are."""
        return self.several or [[target] for _, target in self.pairs]

    def head(self, count: int) -> "Split":
        """The first pairs."""
        several = self.several[:count] if self.several else None
        return Split(self.pairs[:count], self.encoded.subset(range(min(count, len(self.pairs)))), several)


@dataclass(frozen=True)
class Materials:
    """Text and tensors of a data configuration."""

    config: DataConfig
    corpus: corpus.Corpus
    tokenizer: tokenizer.Tokenizer
    train: batches.Encoded
    valid: Split
    test: Split

    def bleu_tokenizer(self, wanted: str) -> Chosen:
        """The tokenizer of BLEU that an option names; 'auto': by the script of the training targets."""
        return choose(wanted, [target for _, target in self.corpus.train])

    @property
    def dropped(self) -> dict[str, int]:
        """{why: number} of the pairs left out of all splits."""
        found = dict(self.corpus.dropped)
        for part in (self.train, self.valid.encoded, self.test.encoded):
            found |= part.dropped
        return found

    def facts(self) -> dict[str, object]:
        """What run.json says of the data; lineage of a corpus that was made from another, found of a folder, references
        (the most of a sentence) where there are several."""
        made: dict[str, object] = {n: value for n in ("lineage", "found") if (value := getattr(self.corpus, n))}
        if self.corpus.references:
            made["references"] = {split: max(map(len, found)) for split, found in self.corpus.references.items()}
        return {
            "name": self.corpus.name,
            "digest": self.corpus.digest,
            "train_pairs": len(self.train),
            "valid_pairs": len(self.valid.pairs),
            "test_pairs": len(self.test.pairs),
            "dropped": self.dropped,
            "vocab_size": len(self.tokenizer),
            "tokenizer": self.tokenizer.name,
            **made,
        }


@lru_cache(maxsize=2)
def prepare(config: DataConfig) -> Materials:
    """Read, tokenize and encode; says on stderr what stands out in the text, and what was left out.

    Raises UserError for whatever is wrong with the text.
    """
    text = corpus.load(config)
    corpus.say(text)
    words = tokenizer.build(text, config.vocab_size)
    train = batches.encode(text.train, words, config.max_length, "train")
    valid, test = (_held_out(name, text, words, config) for name in ("valid", "test"))
    materials = Materials(config, text, words, train, valid, test)
    for why, number in materials.dropped.items():
        print(f"{text.name}: dropped {number} pairs ({why})", file=sys.stderr)
    return materials


def _held_out(name: str, text: corpus.Corpus, words: tokenizer.Tokenizer, config: DataConfig) -> Split:
    pairs, references = getattr(text, name), text.references.get(name)
    encoded = batches.encode(pairs, words, config.max_length, name)
    several = [references[i] for i in encoded.kept] if references else None
    return Split([pairs[i] for i in encoded.kept], encoded, several)


def device_for(name: str) -> torch.device:
    """'auto' = the GPU if there is one. Raises UserError if a GPU is asked for and there is none."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"option device: {name!r} is not a device; use auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError("option device: torch sees no CUDA GPU here; use --device cpu")
    return device
