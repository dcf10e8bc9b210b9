"""A study read back from W&B gives the same table and figures as its run folders, byte for byte."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fake_runs import edit, write_study
from standin import Server
from tracked import ROOT, contents, log_all, plain_surroundings, run_folder

from ablations import records
from core.errors import UserError
from sweeps import fetch, mirror
from sweeps.wb import archive, restore, tracking, wandb_api


def study(root: Path, seeds: tuple[int, ...] = (1, 2)) -> Path:
    """A study of four arms; one run failed after some steps, one diverged."""
    path = write_study(root, "token_loss", seeds)
    failed, diverged = sorted(path.glob("*-s1-*"))[:2]
    edit(failed / "run.json", state="failed", reason="out of memory", finished="2026-11-20T11:00:00")
    for name in ("scores.json", "probes.npz", "samples.jsonl"):
        (failed / name).unlink()
    edit(diverged / "run.json", outcome="diverged")
    return path


def mirrored(path: Path, mode: str) -> None:
    """All runs of a study into W&B, by the real client."""
    for folder in sorted(file.parent for file in path.glob("*/run.json")):
        mirror.mirror(folder, mode)
    tracking.client().teardown()  # all is written


def draw(source: Path | str, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Table and figures of a source, by the command."""
    module = "sweeps.fetch" if "wandb" in str(source) else "analysis.figures"
    to = ("--to", str(out.parent / "fetched")) if module == "sweeps.fetch" else ()
    line = [sys.executable, "-m", module, str(source), "--out", str(out), *to, "--formats", "pdf", *more]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(line, env=environment, cwd=out.parent, capture_output=True, text=True)


def drawn(out: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    """A study in a folder whose name has spaces, and what is drawn of its run folders."""
    root = tmp_path_factory.mktemp("truth")
    path = study(root / "my  runs")
    done = draw(path, root / "drawn")
    assert done.returncode == 0, done.stderr
    return path, drawn(root / "drawn")


def same_runs(path: Path, copy: Path) -> None:
    """All files of all runs and study.json are there, byte for byte."""
    names = sorted(str(p.relative_to(path)) for p in path.rglob("*") if p.is_file())
    assert names == sorted(str(p.relative_to(copy)) for p in copy.rglob("*") if p.is_file())
    assert [name for name in names if (copy / name).read_bytes() != (path / name).read_bytes()] == []


# From the logs of offline runs


@pytest.fixture
def logs(truth: tuple[Path, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The offline logs of the study, by themselves: neither run folders nor W&B's other files are beside them."""
    plain_surroundings(monkeypatch, tmp_path)
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "w"))
    mirrored(truth[0], "offline")
    alone = tmp_path / "only wandb files"
    alone.mkdir()
    for path in (tmp_path / "w").glob("wandb/offline-run-*/*.wandb"):
        shutil.copy(path, alone)
    return alone


def test_logs_alone_give_everything(truth: tuple[Path, dict[str, bytes]], logs: Path, tmp_path: Path) -> None:
    path, expected = truth
    assert len(list(logs.iterdir())) == 8
    done = draw(logs, tmp_path / "again")
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert drawn(tmp_path / "again") == expected and len(expected) > 8
    (copy,) = (tmp_path / "fetched").glob("*/token_loss")
    same_runs(path, copy)


def test_a_killed_runs_log_gives_its_rows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plain_surroundings(monkeypatch, tmp_path)
    folder = run_folder(tmp_path / "modules")
    tracker = tracking.tracker(folder)
    log_all(folder, tracker)
    tracker.results(folder)
    tracker.finish("pending")
    log = contents(tmp_path / "modules")
    rows = [row for row in log.rows if "archive/data" not in row]
    killed = restore.restored(restore.Held("x.wandb", log.config, log.summary, rows))
    assert killed is not None and killed.missing == ("probes.npz", "samples.jsonl")
    restore.write([killed], tmp_path / "copy")
    restored = tmp_path / "copy" / killed.study / killed.name
    rows = records.read_rows(folder / "metrics.jsonl")
    assert records.read_rows(restored / "metrics.jsonl") == restore.metrics(rows) and len(rows) == 6
    assert records.read_json(restored / "scores.json") == records.read_json(folder / "scores.json")


def test_of_a_run_held_twice_the_finished_one_counts(tmp_path: Path) -> None:
    record = {"study": "s", "arm": "a", "seed": 1, "hash": "0123abcd"}
    done = restore.Restored(record | {"state": "finished", "finished": "1"}, {"run.json": b"done"}, ())
    again = restore.Restored(record | {"state": "running"}, {"run.json": b"again"}, ())
    assert restore.write([done, again], tmp_path) == {"s": [done]}
    assert (tmp_path / "s" / "a-s1-0123abcd" / "run.json").read_bytes() == b"done"


@pytest.mark.parametrize("name", ["../../up", "..", "a/b", ""])
def test_names_from_outside_never_leave_the_folder(name: str) -> None:
    record = {"study": "s", "arm": name, "seed": 1, "hash": "0123abcd"}
    assert restore.restored(restore.Held("x", {"record": record}, {}, [])) is None


def test_an_archive_is_whole_or_none(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "modules")
    (folder / "samples.jsonl").write_bytes(os.urandom(3 * archive.PART))
    rows = list(archive.rows(folder))
    assert len(rows) > 3 and archive.unpack(rows)["samples.jsonl"] == (folder / "samples.jsonl").read_bytes()
    assert archive.unpack([*rows[:-1], *rows]) == archive.unpack(rows), "the last one counts"
    assert archive.unpack(rows[:-1]) == archive.unpack(rows[1:]) == archive.unpack([]) == {}


def test_an_archive_that_unfolds_without_measure_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = run_folder(tmp_path / "modules")
    (folder / "samples.jsonl").write_bytes(bytes(1_000_000))
    rows = list(archive.rows(folder))
    assert len(archive.unpack(rows)["samples.jsonl"]) == 1_000_000
    monkeypatch.setattr(archive, "LIMIT", 1_000_000)
    assert archive.unpack(rows) == {}


# From a server


def test_a_server_gives_everything(
    truth: tuple[Path, dict[str, bytes]], wandb_server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path, expected = truth
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "w"))
    mirrored(path, "online")
    mirrored(study(tmp_path / "other", seeds=(1,)).rename(tmp_path / "other" / "second"), "online")
    done = draw("wandb:local/embedding-diffusion", tmp_path / "again", "--study", "token_loss")
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert drawn(tmp_path / "again") == expected
    same_runs(path, tmp_path / "fetched" / "local--embedding-diffusion" / "token_loss")
    monkeypatch.setattr(wandb_api, "_outputs", lambda run: {})  # as if the artifacts were gone: from the history
    runs = [restore.restored(one) for one in wandb_api.held("wandb:embedding-diffusion")]
    restore.write([run for run in runs if run is not None], tmp_path / "from history")
    same_runs(path, tmp_path / "from history" / "token_loss")
    assert wandb_server.backend.unknown == []


def test_wrong_sources_are_refused(wandb_server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for source, message in {
        "wandb:local/none": "does not give it .*none",
        "wandb:nobody/p": "does not give it",
        "wandb:a/b/c": "expected wandb:entity/project",
        "wandb:": "expected wandb:entity/project",
        str(tmp_path / "none.wandb"): "no such file or folder",
        str(tmp_path): r"no \.wandb files in it",
    }.items():
        with pytest.raises(UserError, match=message):
            list(fetch.held([source]))
    monkeypatch.setattr(tracking, "server", lambda: "http://127.0.0.1:9")
    with pytest.raises(UserError, match="does not answer"):
        list(fetch.held(["wandb:local/p"]))
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.delenv("WANDB_API_KEY")
    with pytest.raises(UserError, match="wandb login"):
        list(fetch.held(["wandb:local/p"]))
    assert wandb_server.backend.unknown == []


def test_a_run_of_something_else_is_said_and_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fetch._told(restore.Held("x.wandb", {"lr": 1}, {"loss": 2}, [{"loss": 3}])) is None
    assert "x.wandb: not a run of this suite" in capsys.readouterr().err


# Where it goes


def test_nothing_that_was_not_made_here_is_overwritten(tmp_path: Path) -> None:
    place = tmp_path / "fetched" / "local--p"
    fetch.replace(place, [], ["wandb:local/p"])
    fetch.replace(place, [], ["wandb:local/p"])
    (place / fetch.MARK).unlink()
    (place / "mine").touch()
    with pytest.raises(UserError, match="was not made by this command"):
        fetch.replace(place, [], ["wandb:local/p"])
    assert (place / "mine").exists() and [p.name for p in place.parent.iterdir()] == ["local--p"]
