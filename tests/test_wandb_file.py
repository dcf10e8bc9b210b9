"""The reader of .wandb files against the real client's, whole, torn and damaged, and against foreign ones."""

import json
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tracked import Item, contents, framed, history_record, plain_surroundings, run_record

from core.errors import UserError
from sweeps.wb import archive, restore, wandb_file

CODE = """
import sys, wandb
where = {"project": "p", "dir": sys.argv[1], "id": "r1", "mode": "offline", "settings": {"silent": True}}
with wandb.init(**where, config={"a": {"b": 0.1}}) as run:
    run.config.update({"c": [1, None]})
    for step in range(400):
        run.log({"train/step": step, "x": step / 3, "text": "é" * (step % 300)})
    run.log({"long": "y" * 200_000})
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study's folder with one offline run of the real client: rows, a long row over many blocks, configuration."""
    study = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        plain_surroundings(patch, study)
        subprocess.run([sys.executable, "-c", CODE, str(study)], check=True, capture_output=True)
    return study


@pytest.fixture(scope="module")
def path(study: Path) -> Path:
    """Its log."""
    contents(study)
    return next(study.glob("wandb/offline-run-*/*.wandb"))


def test_a_whole_log(study: Path) -> None:
    log = contents(study)
    assert (log.run_id, log.project, log.exit_code, log.damage) == ("r1", "p", 0, [])
    assert [row["x"] for row in log.rows if "x" in row] == [step / 3 for step in range(400)], "floats are exact"
    assert log.config["a"] == {"b": 0.1} and log.config["c"] == [1, None]
    assert log.rows[-1]["long"] == "y" * 200_000 and log.summary["x"] == 399 / 3


@pytest.fixture(scope="module")
def whole(path: Path) -> list[bytes]:
    """Its records."""
    return list(wandb_file.chunks(path.read_bytes(), []))


@given(share=st.floats(0, 1))
def test_a_torn_log_gives_what_is_whole(path: Path, whole: list[bytes], share: float) -> None:
    content = path.read_bytes()
    cut = content[: wandb_file.HEADER + int(share * (len(content) - wandb_file.HEADER))]
    found = list(wandb_file.chunks(cut, []))
    assert found == whole[: len(found)]
    assert len(found) == len(whole) or len(cut) < len(content)


@given(share=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_a_damaged_log_loses_only_what_the_damage_touches(
    path: Path, whole: list[bytes], share: float, flip: int
) -> None:
    content = bytearray(path.read_bytes())
    at = wandb_file.HEADER + int(share * (len(content) - wandb_file.HEADER))
    content[at] ^= flip
    damage: list[str] = []
    found = list(wandb_file.chunks(bytes(content), damage))
    assert damage and set(found) <= set(whole), "nothing that was not written, and the fault is said"
    first = at // wandb_file.BLOCK
    before = list(wandb_file.chunks(bytes(content[: first * wandb_file.BLOCK]), []))
    assert found[: len(before)] == before


def test_the_end_of_a_torn_log_is_said(path: Path, tmp_path: Path) -> None:
    (torn := tmp_path / "torn.wandb").write_bytes(path.read_bytes()[:-3])
    log = wandb_file.read(torn)
    assert log.exit_code is None and len(log.damage) == 1 and "ends within a record" in log.damage[0]


@pytest.mark.parametrize("content", [b"something else", b":W&B", wandb_file.IDENT[:6] + b"\x01"])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (other := tmp_path / "x.wandb").write_bytes(content)
    with pytest.raises(UserError, match=r"x\.wandb: not a \.wandb file"):
        wandb_file.read(other)


@pytest.mark.parametrize("content", [b"", wandb_file.IDENT])
def test_a_log_that_holds_nothing_is_refused(tmp_path: Path, content: bytes) -> None:
    (empty := tmp_path / "x.wandb").write_bytes(content)
    with pytest.raises(UserError, match=r"x\.wandb: holds no record; its run was killed at once, or has just begun"):
        wandb_file.read(empty)


def test_a_record_in_a_million_pieces_is_put_together_at_once(tmp_path: Path) -> None:
    """Whoever makes such a file has eight bytes a piece; copying the pieces for each of them would take hours."""
    content, damage = bytearray(wandb_file.IDENT), list[str]()
    for kind in (wandb_file.FIRST, *[3] * 300_000, wandb_file.LAST):
        room = wandb_file.BLOCK - len(content) % wandb_file.BLOCK
        content += bytes(room if room < wandb_file.HEADER else 0)
        content += zlib.crc32(bytes([kind]) + b"x").to_bytes(4, "little") + b"\1\0" + bytes([kind]) + b"x"
    assert list(wandb_file.chunks(bytes(content), damage)) == [b"x" * 300_002] and not damage


def test_parts_of_an_archive_are_put_together_at_once() -> None:
    rows = [{"archive/part": i, "archive/of": 300_000, "archive/data": "00000"} for i in range(300_000)]
    assert archive.unpack(rows) == {}


def test_a_log_beyond_all_measure_is_refused(tmp_path: Path) -> None:
    with open(tmp_path / "x.wandb", "wb") as file:
        file.write(wandb_file.IDENT)
        file.truncate(1 << 40)
    with pytest.raises(UserError, match=r"x\.wandb: cannot be read \(more than"):
        wandb_file.read(tmp_path / "x.wandb")


def test_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.wandb: cannot be read \(No such file"):
        wandb_file.read(tmp_path / "none.wandb")
    with pytest.raises(UserError, match="cannot be read"):
        wandb_file.read(tmp_path)


# Logs of other programs


def written(path: Path, *records: bytes) -> Path:
    """A log of these records."""
    path.write_bytes(framed(records))
    return path


@pytest.mark.parametrize("text", ["{no json", "[" * 100_000, "9" * 5_000, ""], ids=["word", "deep", "long", "empty"])
def test_a_value_that_is_no_json_is_left_out_and_said_once(tmp_path: Path, text: str) -> None:
    rows = [history_record((["a", "b"], text), ("x", "1"))] * 3
    log = wandb_file.read(written(tmp_path / "x.wandb", run_record(("lr", text), ("c", "2")), *rows))
    assert log.config == {"c": 2} and log.rows == [{"x": 1}] * 3
    assert log.damage == ["4 values that are no JSON are left out, the first of them lr"]


def test_a_path_of_names_without_end_is_left_out(tmp_path: Path) -> None:
    path = written(tmp_path / "x.wandb", run_record((["record", *["a"] * 5000], "1"), ("c", "2")))
    log = wandb_file.read(path)
    assert log.config == {"c": 2} and "1 values that are no JSON are left out" in log.damage[0]


def test_of_a_value_and_one_below_it_the_later_one_counts(tmp_path: Path) -> None:
    clash = run_record(("a", "1"), (["a", "b"], "2"), (["c", "d"], "3"), ("c", "4"))
    assert wandb_file.read(written(tmp_path / "x.wandb", clash)).config == {"a": {"b": 2}, "c": 4}


def test_records_of_another_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"x\.wandb: holds no records of W&B's client"):
        wandb_file.read(written(tmp_path / "x.wandb", b"\xff\xff\xff\xff sound, but nothing of ours"))


NAMES = st.sampled_from(["record", "study", "state", "archive/data", "archive/part", "archive/of", "train/step", ""])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["a", "é", "\ud800", "0123abcd", "../x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
)
RECORD = {"study": "s", "arm": "a", "seed": 1, "hash": "0123abcd", "state": "running", "config": {}, "toggles": {}}
NEARLY = st.dictionaries(st.sampled_from(list(RECORD)), VALUES, max_size=1).map(lambda odd: RECORD | odd)
TEXTS = (VALUES | NEARLY).map(json.dumps) | st.text(max_size=5)
ITEMS: st.SearchStrategy[list[Item]] = st.lists(
    st.tuples(NAMES | st.lists(NAMES, min_size=1, max_size=3), TEXTS)
    | st.tuples(st.just("record"), NEARLY.map(json.dumps)),
    max_size=4,
)


@given(config=ITEMS, rows=st.lists(ITEMS, max_size=3))
def test_whatever_a_log_holds_it_is_a_run_or_none(
    tmp_path_factory: pytest.TempPathFactory, config: list[Item], rows: list[list[Item]]
) -> None:
    content = [run_record(*config), *(history_record(*row) for row in rows)]
    path = written(tmp_path_factory.getbasetemp() / "any.wandb", *content)
    log = wandb_file.read(path)
    run = restore.restore_run(restore.Held("any.wandb", log.config, log.summary, log.rows))
    if run is not None:
        root = tmp_path_factory.mktemp("any")
        restore.write([run], root)
        assert (root / run.study / run.name / "run.json").exists()
