"""The reader of .wandb files against the real client's, whole, torn and damaged."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tracked import contents, plain_surroundings

from core.errors import UserError
from sweeps.wb import wandb_file

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


@pytest.mark.parametrize("content", [b"", b"something else", b":W&B"])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (other := tmp_path / "x.wandb").write_bytes(content)
    with pytest.raises(UserError, match=r"x\.wandb: not a \.wandb file"):
        wandb_file.read(other)


def test_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        wandb_file.read(tmp_path / "none.wandb")
