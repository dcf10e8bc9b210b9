"""Folders of parallel text: what is read, and what is said about text that cannot be used."""

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.config import DataConfig
from core.errors import UserError
from core.text import corpus

TEXT = {"de": "ein Haus\nzwei Häuser\n", "en": "a house\ntwo houses\n"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of good text, two pairs a split."""
    for split in corpus.SPLITS:
        for suffix, text in TEXT.items():
            (tmp_path / f"{split}.{suffix}").write_text(text, encoding="utf-8")
    return tmp_path


def config(folder: Path, **values: Any) -> DataConfig:
    return DataConfig(data=str(folder), **values)


def refused(folder: Path, **values: Any) -> str:
    """The message about a folder that cannot be used."""
    with pytest.raises(UserError) as caught:
        corpus.load(config(folder, **values))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_folder_is_read(folder: Path) -> None:
    read = corpus.load(config(folder))
    assert read.train == read.valid == read.test == [("ein Haus", "a house"), ("zwei Häuser", "two houses")]
    assert (read.name, read.dropped, read.word_level) == (f"{folder.name} de-en", {}, False)


def test_src_and_tgt_choose_the_direction(folder: Path) -> None:
    back = corpus.load(config(folder, src="en", tgt="de"))
    assert back.train[0] == ("a house", "ein Haus")
    assert back.digest != corpus.load(config(folder)).digest


def test_packed_files_are_the_same_text(folder: Path) -> None:
    before = corpus.load(config(folder))
    plain = folder / "train.de"
    (folder / "train.de.gz").write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    assert corpus.load(config(folder)) == before


def test_the_digest_is_that_of_the_content(folder: Path) -> None:
    before = corpus.digest(config(folder))
    assert len(before) == 16 and int(before, 16) >= 0
    assert corpus.load(config(folder)).digest == before
    (folder / "test.en").write_text("a house\ntwo mice\n")
    assert corpus.digest(config(folder)) != before


def test_windows_line_ends_and_a_byte_order_mark(folder: Path) -> None:
    (folder / "train.de").write_bytes(b"\xef\xbb\xbfein Haus\r\nzwei H\xc3\xa4user")
    assert corpus.load(config(folder)).train == [("ein Haus", "a house"), ("zwei Häuser", "two houses")]


@given(st.lists(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"])), min_size=1, max_size=5))
def test_only_line_feeds_end_a_line(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    """Not U+2028, vertical tabs or the like; and nothing else of a line is touched."""
    path = tmp_path_factory.mktemp("text") / "x"
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())
    expected = [line.removesuffix("\r") for line in lines]
    expected[0] = expected[0].removeprefix("\ufeff")
    assert corpus.read_lines(path) == expected


def test_the_first_training_pairs_alone(folder: Path) -> None:
    assert corpus.load(config(folder, train_limit=1)).train == [("ein Haus", "a house")]
    assert "train_limit" in refused(folder, train_limit=-1)


def test_the_embedded_corpus() -> None:
    small = DataConfig(corpus_pairs=30, corpus_heldout=5, train_limit=20)
    made = corpus.load(small)
    assert (len(made.train), len(made.valid), len(made.test)) == (20, 5, 5)
    assert made.word_level and made.digest == corpus.digest(small) == "embedded-1"
    assert made.name == "embedded (translate)"
    assert corpus.load(replace(small, corpus_variant="compress")).name == "embedded (compress)"


def test_no_folder(folder: Path) -> None:
    assert str(folder / "none") in refused(folder / "none")
    assert "not a folder" in refused(folder / "train.de")


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "valid.en").unlink()
    message = refused(folder)
    assert str(folder / "valid.en") in message and "Suffixes of valid there: de;" in message


def test_a_wrong_suffix_is_answered_with_those_that_exist(folder: Path) -> None:
    (folder / "train.fr.gz").write_bytes(gzip.compress(b"x"))
    assert "Suffixes of train there: de, en, fr; choose with the options src and tgt" in refused(folder, src="xx")
    assert "both 'de'" in refused(folder, tgt="de")


def test_an_empty_folder(tmp_path: Path) -> None:
    assert "no train files" in refused(tmp_path)


def test_plain_and_packed_at_once(folder: Path) -> None:
    (folder / "train.de.gz").write_bytes(gzip.compress(b"x"))
    message = refused(folder)
    assert "train.de" in message and "train.de.gz" in message and "both" in message


def test_unequal_line_counts(folder: Path) -> None:
    (folder / "test.en").write_text("a house\n")
    message = refused(folder)
    assert f"{folder / 'test.de'} has 2 lines, test.en has 1" in message


def test_undecodable_bytes(folder: Path) -> None:
    (folder / "valid.de").write_bytes(b"ein Haus\nzwei H\xe4user\n")
    assert f"{folder / 'valid.de'}, line 2, byte 7: not UTF-8 (0xe4" in refused(folder)


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-9], lambda b: b"no gzip at all", lambda b: b[:20] + b"\xff" * 9 + b[29:]]
)
def test_a_damaged_gzip(folder: Path, damage: Callable[[bytes], bytes]) -> None:
    (folder / "train.de").unlink()
    (folder / "train.de.gz").write_bytes(damage(gzip.compress(TEXT["de"].encode() * 50)))
    assert f"{folder / 'train.de.gz'}: not a whole gzip file" in refused(folder)


def test_empty_sides_in_training_are_dropped_and_counted(folder: Path) -> None:
    (folder / "train.de").write_text("a\n\nc\n \ne\n")
    (folder / "train.en").write_text("A\nB\n\nD\nE\n")
    read = corpus.load(config(folder))
    assert read.train == [("a", "A"), ("e", "E")]
    assert read.dropped == {"train: a side is empty (first: train.de line 2)": 3}


def test_an_empty_side_in_a_heldout_split_is_refused(folder: Path) -> None:
    (folder / "test.en").write_text("a house\n\t\n")
    assert f"{folder / 'test.en'}, line 2 is empty" in refused(folder)


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_an_empty_split(folder: Path, text: str) -> None:
    for suffix in TEXT:
        (folder / f"train.{suffix}").write_text(text)
    assert "hold no sentence pair" in refused(folder)


def test_a_file_that_cannot_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", denied)
    assert "cannot be read: Permission denied" in refused(folder)
