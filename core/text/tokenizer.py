"""Text <-> token ids: words for the embedded corpus, joint byte-level BPE for any other text.

Ids of the special tokens are those of the released code. Bytes are the smallest units of the BPE, so there is no
unknown character, and decode(encode(text)) == text for any text.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from core.errors import UserError
from core.reading import read_json
from core.run_folder import replacing
from core.text.corpus import Corpus

BOS, PAD, EOS, UNK = 0, 1, 2, 3
SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")
SMALLEST_BPE = len(SPECIALS) + 256


class Codec(Protocol):
    """What splits text. Its ids count from len(SPECIALS)."""

    kind: str
    types: list[str]

    def encode(self, texts: Sequence[str]) -> list[list[int]]: ...
    def decode(self, ids: list[int]) -> str: ...
    def state(self) -> Any: ...


class Words:
    """Whitespace-separated words; one that was not seen in training is UNK."""

    kind = "words"

    def __init__(self, types: list[str]) -> None:
        self.types = types
        self.ids = {word: index for index, word in enumerate(types, len(SPECIALS))}

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text."""
        return [[self.ids.get(word, UNK) for word in text.split()] for text in texts]

    def decode(self, ids: list[int]) -> str:
        """Words joined by spaces; UNK is shown as <unk>."""
        words = [*SPECIALS, *self.types]
        return " ".join(words[index] for index in ids)

    def state(self) -> list[str]:
        """What `Words` is made of."""
        return self.types


class Subwords(Words):
    """Words cut into pieces beforehand, '@@' at the end of a piece that goes on: text for released checkpoints."""

    kind = "subwords"

    def decode(self, ids: list[int]) -> str:
        """Words whole again, joined by spaces."""
        return f"{super().decode(ids)} ".replace("@@ ", "").strip()


class Bpe:
    """Byte-level BPE of the pieces between spaces, each with one space in front: a first word is as any other.

    The ids of a piece are remembered: text repeats itself, and looking them up is several times faster.
    """

    kind = "bpe"

    def __init__(self, inner: tokenizers.Tokenizer) -> None:
        self.inner, self.known = inner, dict[str, list[int]]()
        types = sorted(inner.get_vocab().items(), key=lambda item: item[1])
        self.types = [readable(token) for token, _ in types]

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text."""
        rows = [text.split(" ") for text in texts]
        new = list(dict.fromkeys(piece for row in rows for piece in row if piece not in self.known))
        for piece, encoded in zip(new, self.inner.encode_batch_fast([" " + piece for piece in new]), strict=True):
            self.known[piece] = [index + len(SPECIALS) for index in encoded.ids]
        return [[index for piece in row for index in self.known[piece]] for row in rows]

    def decode(self, ids: list[int]) -> str:
        """The text; bytes that are not UTF-8 become U+FFFD, UNK is left out (the BPE never writes it)."""
        return self.inner.decode([index - len(SPECIALS) for index in ids if index != UNK]).removeprefix(" ")

    def state(self) -> Any:
        """What `Bpe` is made of."""
        return json.loads(self.inner.to_str())


def readable(token: str) -> str:
    """A BPE token as text, a space as U+2581; as the library spells it if it is no whole character."""
    text = decoders.ByteLevel().decode([token])
    return token if "\ufffd" in text else text.replace(" ", "\u2581")


class Tokenizer:
    """Splits text into types 0..len - 1; BOS, PAD, EOS and UNK come first."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.types = [*SPECIALS, *codec.types]

    def __len__(self) -> int:
        return len(self.types)

    @property
    def name(self) -> str:
        """What it is, for result rows."""
        kind = {"words": "words", "subwords": "subwords (@@)", "bpe": "joint byte-level BPE"}[self.codec.kind]
        return f"{kind}, {len(self)} types"

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without special tokens around them."""
        return self.encode_many([text])[0]

    def encode_many(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of many texts; much faster than one by one."""
        return self.codec.encode(texts)

    def decode(self, ids: Iterable[int]) -> str:
        """The text up to the first EOS, without BOS and PAD; an EOS in the first place, that of BOS, is skipped."""
        kept: list[int] = []
        for position, index in enumerate(ids):
            if index == EOS and position > 0:
                break
            if index not in (BOS, PAD, EOS):
                kept.append(int(index))
        return self.codec.decode(kept)

    def save(self, path: Path) -> None:
        """Write one JSON file; the same tokenizer always makes the same bytes."""
        state = {"format": 1, "kind": self.codec.kind, "state": self.codec.state()}
        text = json.dumps(state, ensure_ascii=False, indent=0, sort_keys=True) + "\n"
        with replacing(path) as draft:
            draft.write_text(text, encoding="utf-8")

    @staticmethod
    def load(path: Path) -> "Tokenizer":
        """Read what `save` wrote; UserError if it is not that."""
        try:
            saved = read_json(path)
            for codec in (Words, Subwords):
                if saved["kind"] == codec.kind:
                    if not all(isinstance(word, str) for word in list(saved["state"])):
                        raise ValueError("its types are no text")
                    return Tokenizer(codec(saved["state"]))
            inner = tokenizers.Tokenizer.from_str(json.dumps(saved["state"]))
            ids = sorted(inner.get_vocab().values())
            if saved["kind"] != Bpe.kind or not isinstance(inner.model, models.BPE) or ids != list(range(len(ids))):
                raise ValueError("it is no BPE of ours")
            return Tokenizer(Bpe(inner))
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}") from None
        except Exception as error:  # the library raises plain Exception
            raise UserError(
                f"{path} is not a tokenizer of this suite ({error}); remove it to have it made anew"
            ) from None


def build(corpus: Corpus, vocab_size: int) -> Tokenizer:
    """The tokenizer of a corpus, made from both sides of its training text alone.

    vocab_size: number of types of the BPE, special tokens and the 256 bytes included (fewer if the text has no more);
    without effect on a word-level corpus. Raises UserError if it is too small.
    """
    texts = [text for pair in corpus.train for text in pair]
    return Tokenizer(train_words(texts) if corpus.word_level else train_bpe(texts, vocab_size))


def train_words(texts: list[str]) -> Words:
    """All words, most frequent first."""
    seen = Counter(word for text in texts for word in text.split())
    return Words(sorted(seen, key=lambda word: (-seen[word], word)))


def train_bpe(texts: list[str], vocab_size: int) -> Bpe:
    """BPE merges (Sennrich et al. 2016) over bytes, within words, numbers and runs of punctuation."""
    if vocab_size < SMALLEST_BPE:
        raise UserError(f"option vocab_size: {vocab_size} is too small; at least {SMALLEST_BPE}")
    inner = tokenizers.Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(SPECIALS),
        min_frequency=2,
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    inner.train_from_iterator((" " + text for text in texts), trainer)
    return Bpe(inner)
