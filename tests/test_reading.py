"""Files of others, read strictly: what is too large, too deep, damaged or no file ends as one clear error."""

import gzip
import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablations import records
from core import reading, run_folder
from core.errors import UserError
from core.options import parse_value
from core.reading import DEEPEST, Unreadable
from core.text import corpus, origin
from core.text.tokenizer import Tokenizer
from sweeps.wb import restore

DEEP = "[" * 1_000_000


# JSON


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (DEEP, "nested deeper than 100"),
        ('{"a":' * 300_000, "nested deeper than 100"),
        ("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), "nested deeper than 100"),
        ("[1" + "0" * 5000 + "]", "a number of 5001 digits"),
        ("[" + "[]," * 1_000_000 + "[]]", "more than 1,000,000 lists and mappings"),
        ("{", "not JSON"),
        (b"\xff", "not JSON"),
        ("", "not JSON"),
    ],
    ids=lambda value: str(value)[:12],
)
def test_what_is_no_json_or_beyond_the_limits_is_told(text: str | bytes, said: str) -> None:
    with pytest.raises(Unreadable, match=said):
        reading.parse_json(text)


def test_what_is_within_the_limits_is_read() -> None:
    assert json.dumps(reading.parse_json("[" * DEEPEST + "]" * DEEPEST)) == "[" * DEEPEST + "]" * DEEPEST
    assert reading.parse_json(json.dumps([[]] * 1000)) == [[]] * 1000
    assert reading.parse_json("[" + "1" * 300 + "]") == [int("1" * 300)]
    with pytest.raises(Unreadable, match="more than 4 bytes"):
        reading.parse_json("[1,2]", largest=4)


VALUES = st.recursive(
    st.none() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda v: st.lists(v),
    max_leaves=9,
)


@given(VALUES)
def test_json_is_what_the_library_reads(value: Any) -> None:
    for ascii_only in (True, False):
        assert reading.parse_json(json.dumps(value, ensure_ascii=ascii_only)) == value


def test_half_a_character_does_not_stay() -> None:
    found = reading.parse_json(r'{"\ud800k": ["\ud83d\ude00 \udc00", "\\ud800"]}')
    assert found == {"\ufffdk": ["\U0001f600 \ufffd", r"\ud800"]}
    json.dumps(found, ensure_ascii=False).encode()


def test_a_file_is_regular_and_of_limited_size(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "run.json")  # reading it would wait for ever
    (tmp_path / "folder.json").mkdir()
    for name in ("run.json", "folder.json"):
        with pytest.raises(Unreadable, match="no regular file"):
            reading.read_json(tmp_path / name)
        assert str(run_folder.try_read(tmp_path / name)[1]).startswith("is unreadable")
    with open(tmp_path / "large.json", "wb") as file:
        file.truncate(1 << 40)  # takes no room on the disk
    with pytest.raises(Unreadable, match="more than 33,554,432 bytes"):
        reading.read_json(tmp_path / "large.json")


READERS: dict[str, Callable[[Path], Any]] = {
    "run.json": lambda path: records.read(path.parent),
    "study.json": run_folder.read,
    "corpus.json": lambda path: origin.read(path.parent, {}),
    "tokenizer.json": Tokenizer.load,
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("text", [DEEP, '{"format": 1' + "0" * 5000 + "}"], ids=["deep", "number"])
def test_whatever_is_read_one_message_names_the_file(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=name):
        READERS[name](tmp_path / name)


def test_records_of_wandb_and_words_of_a_command_line() -> None:
    assert restore._record(DEEP.encode()) is None
    assert parse_value("[[1]]") == [[1]]
    assert parse_value(DEEP) == DEEP


# Rows of JSON


def test_rows_end_with_lf_alone(tmp_path: Path) -> None:
    """Unicode knows more line ends, which text may hold."""
    path = tmp_path / "samples.jsonl"
    texts = ["a\u2028b", "c\u0085d", "e\x0bf\x0cg\x1ch\x1di\x1ej\u2029k", "l\rm"]
    path.write_text("".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts), newline="")
    assert [row["text"] for row in run_folder.read(path)] == texts
    assert run_folder.try_read(path) == (run_folder.read(path), None)


def test_broken_rows_are_counted_and_the_rest_is_read(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"a": 1}\n\n[1]\n' + DEEP.encode() + b'\n{"b": "\xff"}\r\n{"c": 3')
    assert run_folder.try_read(path) == ([{"a": 1}, {"b": "\ufffd"}], "has 3 broken lines")
    with pytest.raises(UserError, match=r"metrics\.jsonl:3: not a row of it \(not a mapping\)"):
        run_folder.read(path)
    path.write_bytes(b'{"a": 1}\n{"c": 3')
    assert run_folder.read(path) == [{"a": 1}]


def test_a_row_without_end_takes_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LARGEST_JSON", 50)
    (tmp_path / "x.jsonl").write_text('{"a": 1}\n' + "x" * 1000 + '\n{"b": 2}\n' + "y" * 50)
    rows = list(reading.rows(tmp_path / "x.jsonl"))
    assert [(number, ended) for number, ended, _ in rows] == [(1, True), (2, True), (3, True), (4, False)]
    assert [row for _, _, row in rows if isinstance(row, dict)] == [{"a": 1}, {"b": 2}]
    assert "a line of more than 50 bytes" in str(rows[1][2])


# Arrays


def packed(path: Path, **arrays: np.ndarray) -> Path:
    np.savez_compressed(path, allow_pickle=True, **arrays)
    return path


ARRAYS: dict[str, Any] = {
    "plain": np.arange(12.0).reshape(3, 4),
    "by_column": np.asfortranarray(np.arange(24).reshape(2, 3, 4)),
    "turned": np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1),
    "scalar": np.float32(3),
    "none": np.zeros((0, 3)),
    "text": np.array(["a", "żółć"]),
    "swapped": np.arange(3, dtype=">f8"),
    "named": np.zeros(3, [("a", "f4"), ("b", "i2", 2)]),
    "many": np.random.default_rng(0).random((700, 300)),
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_are_what_numpy_reads(save: Callable[..., None], tmp_path: Path) -> None:
    save(tmp_path / "x.npz", **ARRAYS)
    found = reading.arrays(tmp_path / "x.npz")
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype and np.array_equal(found[name], array) and found[name].flags.writeable


def npy(header: str, content: bytes = b"") -> bytes:
    """An .npy file with this header, true or not."""
    text = header.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + content


def member(content: bytes, name: str = "a.npy", how: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", how) as archive:
        archive.writestr(name, content)
    return stream.getvalue()


HEADER = "{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }"
ENTRY = b"PK\x01\x02\x14\x03\x14\x00"
"""How an entry of a zip's directory begins; its flags follow, the first of which says that it is encrypted."""
WRONG = {
    "announces too much": member(npy(HEADER % f"{10**12},", b"\0" * 8)),
    "announces too little": member(npy(HEADER % "1,", b"\0" * 8)),
    "a negative size": member(npy(HEADER % "-1, -2", b"\0" * 8)),
    "no bytes, many elements": member(npy(HEADER % "0, 4611686018427387904, 4")),
    "a header too deep": member(npy("(" * 100, b"")),
    "objects": member(npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", b"\0" * 8)),
    "another version": member(b"\x93NUMPY\x03\x00" + b"\0" * 99),
    "no array": member(b"hello", "a.txt"),
    "lzma": member(npy(HEADER % "2,", b"\0" * 8), how=zipfile.ZIP_LZMA),
    "encrypted": member(npy(HEADER % "2,", b"\0" * 8)).replace(ENTRY + b"\0", ENTRY + b"\1"),
    "no zip": b"PK",
    "nothing": b"",
}


UNTRUE = ("announces too much", "announces too little", "a negative size", "objects")


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_file_of_arrays_is_told(name: str, tmp_path: Path) -> None:
    (tmp_path / "probes.npz").write_bytes(WRONG[name])
    with pytest.raises(Unreadable, match="not hold the numbers that it announces" if name in UNTRUE else None):
        reading.arrays(tmp_path / "probes.npz")
    assert str(run_folder.try_read(tmp_path / "probes.npz")[1]).startswith("is unreadable")
    with pytest.raises(UserError, match=r"probes\.npz: cannot be read"):
        run_folder.read(tmp_path / "probes.npz")


def test_arrays_that_unpack_to_too_much_are_not_unpacked(tmp_path: Path) -> None:
    path = packed(tmp_path / "x.npz", a=np.zeros(3_000_000))
    assert path.stat().st_size < 50_000
    with pytest.raises(Unreadable, match="unpacks to 24,000,128 bytes"):
        reading.arrays(path, largest=20_000_000)


def test_damaged_arrays_never_crash(tmp_path: Path) -> None:
    """Each byte flipped in turn, and each end cut: the arrays as they were, or one error."""
    path = packed(tmp_path / "x.npz", a=np.arange(5), b=np.ones((2, 2)))
    whole = path.read_bytes()
    flipped = [whole[:i] + bytes([whole[i] ^ bit]) + whole[i + 1 :] for i in range(len(whole)) for bit in [1 << i % 8]]
    for content in [*flipped, *(whole[:i] for i in range(0, len(whole), 3))]:
        path.write_bytes(content)
        try:
            found = reading.arrays(path)
        except Unreadable:
            continue
        assert all(array.nbytes <= 1000 for array in found.values())


# gzip


def test_gzip_of_text_is_read_and_a_bomb_is_not(tmp_path: Path) -> None:
    text = "".join(f"sentence {i}\n" for i in range(1000)).encode()
    assert reading.gunzip(gzip.compress(text)) == text
    assert reading.gunzip(gzip.compress(text) + gzip.compress(text)) == text * 2
    bomb = tmp_path / "train.de.gz"
    with gzip.open(bomb, "wb", 1) as file:
        for _ in range(70):
            file.write(bytes(1 << 20))
    with pytest.raises(Unreadable, match="unpacks to more than 67,108,864 bytes"):
        reading.gunzip(bomb.read_bytes())
    with pytest.raises(UserError, match=r"train\.de\.gz: unpacks to more"):
        corpus.read_bytes(bomb)


def test_a_damaged_gzip_file_is_told() -> None:
    whole = gzip.compress(b"text" * 100)
    for content in (b"", whole[:-1], whole[:20], b"x" + whole, whole[:15] + b"\xff" * 9 + whole[24:], whole + b"junk"):
        with pytest.raises(Unreadable, match="not a whole gzip file"):
            reading.gunzip(content or b"x")
