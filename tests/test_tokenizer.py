"""Text to ids and back."""

import os
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.config import DataConfig
from core.errors import UserError
from core.text import corpus, tokenizer
from core.text.corpus import Corpus
from core.text.tokenizer import BOS, EOS, PAD, UNK, Tokenizer

PAIRS = [
    ("Zwei Männer fahren Rad.", "Two men ride bikes."),
    ("Zwei Männer lachen.", "Two men are laughing."),
    ("Ein Mann fährt Rad.", "A man rides a bike."),
    ("Die Frauen lachen, <s> 3,14 €!", "The women are laughing, </s> 3.14 €!"),
] * 3


def text_corpus(word_level: bool = False) -> Corpus:
    return Corpus("x", PAIRS, PAIRS, PAIRS, "0", {}, word_level)


@lru_cache
def bpe() -> Tokenizer:
    return tokenizer.build(text_corpus(), 320)


def words() -> Tokenizer:
    return tokenizer.build(Corpus("x", [("b a a", "a c"), ("b", "c")], [], [], "0", {}, True), 0)


def test_special_ids_are_those_of_the_released_code() -> None:
    assert (BOS, PAD, EOS, UNK) == (0, 1, 2, 3)
    for made in (bpe(), words()):
        assert made.types[:4] == ["<s>", "<pad>", "</s>", "<unk>"]


@given(st.text())
def test_bpe_loses_nothing(text: str) -> None:
    """Any text at all, characters never seen included; never an id of a special token."""
    ids = bpe().encode(text)
    assert bpe().decode(ids) == text
    assert all(len(tokenizer.SPECIALS) <= index < len(bpe()) for index in ids)


@given(st.lists(st.sampled_from([side for pair in PAIRS for side in pair]) | st.text(max_size=20), max_size=6))
def test_many_at_once_are_as_one_by_one(texts: list[str]) -> None:
    """What is remembered of earlier texts changes nothing."""
    fresh = tokenizer.build(text_corpus(), 300)
    assert fresh.encode_many(texts) == [tokenizer.build(text_corpus(), 300).encode(text) for text in texts]


def test_text_that_looks_like_special_tokens_is_text() -> None:
    ids = bpe().encode("<s> </s> <pad> <unk>")
    assert not set(ids) & {BOS, PAD, EOS, UNK}
    assert bpe().decode([BOS, *ids, EOS, PAD]) == "<s> </s> <pad> <unk>"


def test_bpe_merges_what_is_frequent() -> None:
    assert len(bpe().encode("Zwei Männer")) == 2
    assert len(bpe()) == len(bpe().types) == 320
    assert "▁Zwei" in bpe().types
    assert bpe().encode("lachen Zwei")[-1:] == bpe().encode("Zwei")


def test_bpe_stops_where_the_text_has_no_more() -> None:
    assert len(tokenizer.build(text_corpus(), 8000)) < 500


def test_bpe_needs_room_for_bytes() -> None:
    with pytest.raises(UserError, match="vocab_size: 259 is too small; at least 260"):
        tokenizer.build(text_corpus(), 259)
    smallest = tokenizer.build(text_corpus(), 260)
    assert smallest.decode(smallest.encode("Zwei Männer")) == "Zwei Männer"


def test_broken_utf8_is_shown_not_raised() -> None:
    ids = bpe().encode("日")  # three bytes, never seen: three ids
    assert len(ids) == 4 and "\ufffd" in bpe().decode(ids[:3])


def test_words_by_frequency_then_alphabet() -> None:
    made = words()
    assert made.types[4:] == ["a", "b", "c"]
    assert made.encode("c a zzz b") == [6, 4, UNK, 5]
    assert made.decode([BOS, 6, 4, UNK, 5, EOS]) == "c a <unk> b"


@given(st.lists(st.sampled_from(["a", "b", "c"])))
def test_words_come_back(picked: list[str]) -> None:
    assert words().decode(words().encode(" ".join(picked))) == " ".join(picked)


@pytest.mark.parametrize(
    ("ids", "text"),
    [
        ([BOS, 4, 5, EOS, 6, EOS], "a b"),
        ([4, BOS, PAD, 5], "a b"),
        ([EOS, 4, EOS, 5], "a"),
        ([BOS, EOS], ""),
        ([], ""),
    ],
)
def test_decoding_ends_at_eos_and_shows_no_specials(ids: list[int], text: str) -> None:
    assert words().decode(ids) == text
    assert words().decode(np.array(ids, dtype=np.int64)) == text


def test_the_name_tells_kind_and_size() -> None:
    assert words().name == "words, 7 types"
    assert bpe().name == "joint byte-level BPE, 320 types"


@pytest.mark.parametrize("word_level", [False, True])
def test_saved_and_loaded(tmp_path: Path, word_level: bool) -> None:
    made = tokenizer.build(text_corpus(word_level), 300)
    made.save(tmp_path / "one.json")
    again = Tokenizer.load(tmp_path / "one.json")
    again.save(tmp_path / "two.json")
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    assert again.types == made.types and again.name == made.name
    assert [again.encode(text) for text, _ in PAIRS] == [made.encode(text) for text, _ in PAIRS]


def test_training_is_deterministic(tmp_path: Path, root: Path) -> None:
    """Twice here, and in a process with other hashes."""
    program = (
        "import sys, pathlib; from core.text import tokenizer; from tests.test_tokenizer import text_corpus\n"
        "tokenizer.build(text_corpus(), 320).save(pathlib.Path(sys.argv[1]))"
    )
    for index in (0, 1):
        tokenizer.build(text_corpus(), 320).save(tmp_path / str(index))
    environment = os.environ | {"PYTHONHASHSEED": "77"}
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "2")], cwd=root, env=environment, check=True)
    assert len({(tmp_path / str(index)).read_bytes() for index in range(3)}) == 1


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "[]", '{"kind": "bpe", "state": {"model": 1}}', '{"kind": "words"}', "\xff"),
        '{"kind": "other", "state": {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}}',
        '{"kind": "bpe", "state": {"model": {"type": "Unigram", "vocab": [], "byte_fallback": false}}}',
        '{"kind": "bpe", "state": {"model": {"type": "BPE", "vocab": {"a": 1000000000}, "merges": []}}}',
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_text(content, encoding="latin-1")
    with pytest.raises(UserError, match=r"x\.json is not a tokenizer"):
        Tokenizer.load(tmp_path / "x.json")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        Tokenizer.load(tmp_path / "x.json")


def test_the_embedded_corpus_is_split_into_words() -> None:
    made = corpus.load(DataConfig(corpus_pairs=3000, corpus_heldout=50))
    split = tokenizer.build(made, 8000)
    assert split.name.startswith("words")
    assert all(split.decode(split.encode(text)) == text for pair in made.train[:100] for text in pair)
