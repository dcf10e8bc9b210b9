"""Folders of parallel text: what is read, and what is said about text that cannot be used."""

import gzip
import json
import os
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
    assert str(folder / "valid.en") in message and "Of valid only valid.de is there" in message
    (folder / "valid.de").rename(folder / "valid.json")
    assert "Of valid only valid.json is there; a text has two sides" in refused(folder), (
        "one suffix is no choice of two"
    )


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


# Names and kinds of files


def test_val_and_dev_stand_for_valid_where_only_one_can_be_meant(folder: Path) -> None:
    before = corpus.load(config(folder))
    for name in ("val", "dev", "validation"):
        for old in folder.glob("*.*"):
            if not old.name.startswith(("train", "test")):
                old.rename(folder / f"{name}{old.suffix}")
        read = corpus.load(config(folder))
        assert (read.valid, read.digest) == (before.valid, before.digest)
        assert read.found["read_from"] == {"valid": f"{name}.de and {name}.en"}
        assert f"valid is read from {name}.de and {name}.en" in read.found["said"]
    for suffix, text in TEXT.items():
        (folder / f"dev.{suffix}").write_text(text, encoding="utf-8")
    assert "dev.de and validation.de may both be meant for valid" in refused(folder)
    for suffix, text in TEXT.items():
        (folder / f"valid.{suffix}").write_text(text, encoding="utf-8")
    assert corpus.load(config(folder)).found["read_from"] == {}


def test_files_of_other_names_are_listed_with_the_way_out(folder: Path) -> None:
    for suffix in TEXT:
        (folder / f"test.{suffix}").rename(folder / f"test_2016_flickr.{suffix}")
    message = refused(folder)
    assert "There: test_2016_flickr.de, test_2016_flickr.en, train.de" in message
    assert "rename or link those that are to be used, such as test_2016_flickr.de to test.de" in message


def a_fifo(path: Path) -> None:
    os.mkfifo(path)


def a_circle(path: Path) -> None:
    path.symlink_to(path.name)


def a_dead_link(path: Path) -> None:
    path.symlink_to("nowhere")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (Path.mkdir, "is a folder"),
        (a_fifo, "is a named pipe"),
        (a_circle, "is a link to train.de, a circle"),
        (a_dead_link, "is a link to nowhere, which does not exist"),
        (lambda path: path.symlink_to("/dev/zero"), "is a device"),
    ],
)
def test_what_stands_in_place_of_a_file_is_named(folder: Path, make: Callable[[Path], None], said: str) -> None:
    (folder / "train.de").unlink()
    make(folder / "train.de")
    assert f"{folder / 'train.de'} {said}" in refused(folder)


@pytest.mark.parametrize("data", ["~nobody-of-that-name/x", "x" * 5000, "a\0b"])
def test_a_folder_that_cannot_be_is_named(data: str) -> None:
    with pytest.raises(UserError, match="option data: "):
        corpus.load(DataConfig(data=data))


@pytest.mark.parametrize("src", ["x" * 300, "a\0b", "a/../b"])
def test_a_suffix_that_no_file_can_have_is_one_message(folder: Path, src: str) -> None:
    assert "train." in refused(folder, src=src)


def test_a_text_beyond_the_memory_is_refused_before_it_is_read(folder: Path) -> None:
    with open(folder / "train.de", "wb") as file:
        file.truncate(1 << 42)
    assert "train.de" not in refused(folder) and "of memory at the least" in refused(folder)


def test_a_pipe_or_a_circle_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    a_circle(tmp_path / "circle")
    assert "is a link to circle, a circle" in refused(tmp_path / "circle")
    a_fifo(tmp_path / "pipe")
    assert "is a named pipe" in refused(tmp_path / "pipe")


def test_lines_that_end_with_cr_alone_are_no_lines(folder: Path) -> None:
    for split in corpus.SPLITS:
        for suffix, text in TEXT.items():
            (folder / f"{split}.{suffix}").write_bytes(text.replace("\n", "\r").encode())
    message = refused(folder)
    assert "train.de: its lines end with CR alone" in message and "tr '\\r' '\\n' < train.de" in message
    for suffix, text in TEXT.items():
        (folder / f"train.{suffix}").write_text(text)
    assert "valid.de: its lines end with CR alone" in refused(folder)


# JSON lines


def as_rows(folder: Path, one: str, two: str, nested: bool = False) -> None:
    """The folder's text as JSON lines."""
    for split in corpus.SPLITS:
        sides = [(folder / f"{split}.{suffix}").read_text().splitlines() for suffix in TEXT]
        rows = [{one: source, two: target} for source, target in zip(*sides, strict=True)]
        text = "".join(json.dumps({"translation": row} if nested else row) + "\n" for row in rows)
        (folder / f"{split}.jsonl").write_text(text)
        for suffix in TEXT:
            (folder / f"{split}.{suffix}").unlink()


@pytest.mark.parametrize(
    ("keys", "options", "nested"),
    [
        (("src", "trg"), {}, False),
        (("de", "en"), {}, True),
        (("question", "answer"), {"src": "question", "tgt": "answer"}, False),
    ],
)
def test_json_lines_are_read(folder: Path, keys: tuple[str, str], options: dict[str, str], nested: bool) -> None:
    before = corpus.load(config(folder))
    as_rows(folder, *keys, nested)
    read = corpus.load(config(folder, **options))
    assert (read.train, read.valid, read.test) == (before.train, before.valid, before.test)
    assert read.name == f"{folder.name} {'-'.join(keys)}" and read.digest == corpus.digest(config(folder, **options))
    (folder / "test.jsonl.gz").write_bytes(gzip.compress((folder / "test.jsonl").read_bytes()))
    (folder / "test.jsonl").unlink()
    assert corpus.load(config(folder, **options)) == read


def test_the_direction_of_json_lines_is_part_of_the_digest(folder: Path) -> None:
    as_rows(folder, "de", "en")
    back = corpus.load(config(folder, src="en", tgt="de"))
    assert back.train[0] == ("a house", "ein Haus") and back.digest != corpus.digest(config(folder))


def test_one_file_of_json_lines_names_the_splits(tmp_path: Path) -> None:
    rows = [{"src": f"{split} a", "trg": "b", "split": split} for split in ("train", "val", "test", "train")]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    read = corpus.load(config(tmp_path))
    assert (len(read.train), read.valid) == (2, [("val a", "b")])
    (tmp_path / "data.jsonl").write_text('{"src": "a", "trg": "b"}\n')
    assert "data.jsonl, line 1: 'split' must say train, valid or test, and is missing" in refused(tmp_path)
    (tmp_path / "data.jsonl").write_text('{"src": "a", "trg": "b", "split": ["train"]}\n')
    assert """data.jsonl, line 1: 'split' must say train, valid or test, and is ["train"]""" in refused(tmp_path)
    (tmp_path / "data.jsonl").write_text('{"src": "a", "trg": "b", "split": "train"}\n')
    assert "data.jsonl holds no sentence pair of valid" in refused(tmp_path)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("{", "not a row of JSON"),
        ("", "not a row of JSON (it is empty)"),
        ("[1]", "must be an object with a key for each side, and is [1]"),
        ('{"de": "x", "en": 3}', "'en' must be text, and is 3"),
        ('{"de": "x"}', "'en' must be text, and is missing"),
        ("[" * 100_000, "not a row of JSON"),
    ],
)
def test_rows_that_are_no_pairs_are_named_by_line(folder: Path, row: str, said: str) -> None:
    as_rows(folder, "de", "en")
    (folder / "valid.jsonl").write_text('{"de": "ein Haus", "en": "a house"}\n' + row + "\n")
    assert f"{folder / 'valid.jsonl'}, line 2: {said}" in refused(folder)


def test_keys_that_are_not_there_are_answered_with_those_that_are(folder: Path) -> None:
    as_rows(folder, "frage", "antwort")
    assert "choose with the options src and tgt among: frage, antwort" in refused(folder)


def test_rows_may_end_as_on_windows_and_not_as_on_old_macs(folder: Path) -> None:
    as_rows(folder, "de", "en")
    before, rows = corpus.load(config(folder)).train, (folder / "train.jsonl").read_bytes()
    (folder / "train.jsonl").write_bytes(rows.replace(b"\n", b"\r\n"))
    assert corpus.load(config(folder)).train == before
    (folder / "train.jsonl").write_bytes(rows.replace(b"\n", b"\r"))
    assert "train.jsonl: its lines end with CR alone" in refused(folder)


def test_a_line_end_within_a_row_is_a_blank(folder: Path) -> None:
    as_rows(folder, "de", "en")
    (folder / "train.jsonl").write_text(json.dumps({"de": "a\nb", "en": "c\r\nd\u2028e"}) + "\n")
    assert corpus.load(config(folder)).train == [("a b", "c d e")]


# Sizes


def test_a_word_without_end_is_left_out_and_counted(folder: Path) -> None:
    (folder / "train.de").write_text(f"ein Haus\n{'x' * 5_000_000}\n")
    read = corpus.load(config(folder))
    assert read.train == [("ein Haus", "a house")]
    assert read.dropped == {"train: a word has more than 10,000 characters (first: train.de line 2)": 1}
    (folder / "train.de").write_text(f"{'x' * 20_000}\n{'y' * 20_000}\n")
    assert (
        "hold no sentence pair of train; train: a word has more than 10,000 characters (first: train.de line 1): 2"
        in refused(folder)
    )


def test_a_length_that_no_pair_has_is_refused_before_anything_is_tokenised(folder: Path) -> None:
    assert "train: none of the 2 pairs fits into 3 tokens; raise max_length" in refused(folder, max_length=3)
