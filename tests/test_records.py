"""The run folder: identity, states, and the log of metrics."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_runs import pending_run
from hypothesis import given
from hypothesis import strategies as st

from ablations import provenance, records
from ablations.metrics_log import MetricsLog, latest
from core.config import RunConfig, flat
from core.errors import UserError
from core.run_folder import read, replacing

ROOT = Path(__file__).parents[1]
# Identity and provenance


def test_identity_is_of_content_not_of_place() -> None:
    one, other = flat(RunConfig()), flat(RunConfig()) | {"data": "/elsewhere"}
    assert records.identity(one, "abc") == records.identity(other, "abc")
    assert records.identity(one, "abc") != records.identity(one, "abd")
    assert records.identity(one, "abc") != records.identity(one | {"seed": 2}, "abc")
    assert len(records.identity(one, "abc")) == 8


def test_provenance_says_where_a_result_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    known = provenance.provenance(torch.device("cpu"))
    assert known["versions"]["torch"] and known["versions"]["python"].startswith("3.")
    assert known["device"].split()[0] in ("cpu", "cuda") and known["threads"] >= 1 and known["command"]
    assert known["processor"] == provenance.processor() and known["processor"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("processor\t: 0\nmodel name\t: Some  CPU @ 2.0GHz\nmodel name\t: Other\n", "Some CPU @ 2.0GHz"),
        ("processor\t: 0\nBogoMIPS\t: 50.00\n", "generic"),
        (None, "generic"),
    ],
)
def test_the_processor_is_named(monkeypatch: pytest.MonkeyPatch, text: str | None, expected: str) -> None:
    def read(self: Path, **options: Any) -> str:
        assert str(self) == "/proc/cpuinfo"
        if text is None:
            raise FileNotFoundError(self)
        return text

    monkeypatch.setattr(Path, "read_text", read)
    monkeypatch.setattr(provenance.platform, "processor", lambda: "generic")
    assert provenance.processor.__wrapped__() == expected


@pytest.mark.parametrize("change", [False, True])
def test_commit_of_the_checkout_it_runs_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: bool) -> None:
    module = tmp_path / "repository" / "provenance.py"
    module.parent.mkdir()
    module.write_text("")
    monkeypatch.setattr(provenance, "__file__", str(module))
    provenance.commit.cache_clear()
    try:
        assert provenance.commit() is None, "not a repository"
        git = ["git", "-C", str(module.parent), "-c", "user.name=n", "-c", "user.email=e@x"]
        subprocess.run([*git, "init", "-q"], check=True)
        provenance.commit.cache_clear()
        assert provenance.commit() is None, "somebody else's repository: the file is not part of it"
        subprocess.run([*git, "add", "provenance.py"], check=True)
        subprocess.run([*git, "commit", "-qm", "x"], check=True)
        head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
        module.write_text("changed" if change else "")
        provenance.commit.cache_clear()
        assert provenance.commit() == head + ("+dirty" if change else "")
    finally:
        provenance.commit.cache_clear()


def test_no_git_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    provenance.commit.cache_clear()
    monkeypatch.setenv("PATH", "/nowhere")
    assert provenance.commit() is None
    provenance.commit.cache_clear()


# States


def test_states_of_a_run(tmp_path: Path) -> None:
    folder = pending_run(tmp_path)
    assert folder == tmp_path / "study" / "a+b-s1-12345678"
    assert (records.read(folder)["state"], records.read(folder)["format"]) == ("pending", 1)
    assert records.claim(folder, lease_seconds=100)
    record = records.read(folder)
    assert (record["state"], record["attempts"], record["lease"]["pid"]) == ("running", 1, os.getpid())
    assert 95 < record["lease"]["expires"] - time.time() <= 101
    assert records.claim(folder), "it is ours already"
    assert records.read(folder)["attempts"] == 1
    records.fail(folder, "Broken:\n  twice", refused=True)
    record = records.read(folder)
    assert (record["state"], record["reason"], record["refused"]) == ("failed", "Broken: twice", True)
    assert record["lease"] is None and record["finished"]
    records.release(folder)
    assert records.claim(folder) and records.read(folder)["attempts"] == 2
    records.finish(folder)
    record = records.read(folder)
    assert (record["state"], record["reason"], record["refused"]) == ("finished", None, False)
    records.release(folder)
    assert not records.claim(folder), "a finished run is never run again"
    assert records.read(folder)["state"] == "finished"


def test_an_interruption_is_no_attempt(tmp_path: Path) -> None:
    folder = pending_run(tmp_path)
    assert records.claim(folder)
    records.suspend(folder)
    records.release(folder)
    record = records.read(folder)
    assert (record["state"], record["attempts"], record["reason"]) == ("pending", 0, "interrupted")


def test_a_run_let_go_before_its_end_is_pending_again(tmp_path: Path) -> None:
    folder = pending_run(tmp_path)
    assert records.claim(folder)
    records.release(folder)
    record = records.read(folder)
    assert (record["state"], record["attempts"], record["lease"]) == ("pending", 0, None)


def test_what_a_killed_process_had_begun_to_write_is_removed(tmp_path: Path) -> None:
    """By the process that runs the run; but not a young run.json, which one without the lock may be making."""
    folder = pending_run(tmp_path)
    names = [
        ".state.safetensors.7.8.tmp",
        ".run.json.7.8.tmp",
        ".run.json.7.9.tmp",
        ".notes.tmp",
        "scores.json.7.8.tmp",
    ]
    for name in names:
        (folder / name).write_text("half")
    os.utime(folder / names[1], (time.time() - 1000,) * 2)
    with records.reserved(folder):
        assert not records.claim(folder) and all((folder / name).exists() for name in names)
    assert records.claim(folder)
    assert [name for name in names if (folder / name).exists()] == names[2:]
    with replacing(folder / "scores.json") as draft:
        draft.write_text("mine")
        assert records.claim(folder) and draft.exists(), "held already: its own drafts stay"
    records.release(folder)


def test_create_leaves_what_is_there(tmp_path: Path) -> None:
    folder = pending_run(tmp_path)
    records.update(folder, state="failed", extra=[1, float("nan")])
    pending_run(tmp_path)
    assert records.read(folder)["state"] == "failed"
    assert records.read(folder)["extra"] == [1, None]
    assert sorted(path.name for path in folder.iterdir()) == ["run.json"], "no drafts left"


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "not a run folder"), ("{", "delete a"), ("[1]", "delete a"), ('{"format": 2}', "newer version")],
)
def test_unreadable_records_say_what_to_do(tmp_path: Path, content: str | None, message: str) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    if content is not None:
        (folder / "run.json").write_text(content)
    with pytest.raises(UserError, match=message):
        records.read(folder)


def test_readers_never_see_half_a_record(tmp_path: Path) -> None:
    folder = pending_run(tmp_path)
    code = "import sys; from pathlib import Path; from ablations import records\n"
    code += "for i in range(200): records.update(Path(sys.argv[1]), filler='x' * (i * 100), i=i)"
    writer = subprocess.Popen([sys.executable, "-c", code, str(folder)], cwd=ROOT)
    seen = {records.read(folder).get("i", -1)}
    while writer.poll() is None:
        seen.add(records.read(folder).get("i", -1))
    assert writer.returncode == 0 and len(seen) > 5


# metrics.jsonl


def test_rows_are_there_at_once_and_plain(tmp_path: Path) -> None:
    import numpy as np
    import torch

    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.log({"train/step": np.int64(1), "train/loss": torch.tensor(0.5), "train/mse": float("inf"), "x": [np.nan, 2]})
    assert read(log.path) == [{"train/step": 1, "train/loss": 0.5, "train/mse": None, "x": [None, 2]}]
    log.close()


@given(
    steps=st.lists(st.integers(1, 30), min_size=1, max_size=12).map(sorted),
    resume=st.integers(0, 30),
    torn=st.sampled_from(["", '{"train/step": 3', '{"train/step": 99, "x": 1.', "\x00\x00"]),
)
def test_resuming_drops_later_rows_and_torn_lines(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int], resume: int, torn: str
) -> None:
    path = tmp_path_factory.mktemp("m") / "metrics.jsonl"
    path.write_text("".join(json.dumps({"train/step": step}) + "\n" for step in steps) + torn)
    seen: list[Any] = []
    with MetricsLog(path, resume, seen.append) as log:
        log.log({"train/step": resume + 1})
    expected = [step for step in steps if step <= resume] + [resume + 1]
    assert [row["train/step"] for row in read(path)] == expected
    assert [row["train/step"] for row in seen] == expected, "the mirror is given the rows kept, too"


def test_without_a_checkpoint_a_run_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"train/step": 1}\nnot json\n')
    MetricsLog(path).close()
    assert read(path) == []


def test_a_broken_line_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"train/step": 1}\nnot json\n{"train/step": 2}\n')
    with pytest.raises(UserError, match=r"metrics\.jsonl:2"):
        read(path)


def test_latest_merges_the_last_rows(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert latest(path) == {}
    filler = "".join(json.dumps({"train/step": i, "train/loss": i, "fill": "x" * 50}) + "\n" for i in range(500))
    path.write_text(filler + '{"train/step": 500, "val/bleu": 7.5}\n{"train/step": 501, "train/l')
    row = latest(path)
    assert (row["train/step"], row["train/loss"], row["val/bleu"]) == (500, 499, 7.5)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which Linux has")
def test_a_full_disk_is_named(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"metrics\.jsonl: the disk is full"), MetricsLog(path) as log:
        log.log({"train/step": 1})
