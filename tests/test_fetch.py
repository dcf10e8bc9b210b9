"""A study read back from W&B gives the same table and figures as its run folders, byte for byte."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fake_runs import edit, write_study
from standin import Server
from tracked import ROOT, contents, framed, log_all, plain_surroundings, run_folder, run_record, until, whole

from ablations import records
from core.errors import UserError
from core.run_folder import read
from sweeps.wb import archive, connection, fetch_runs, restore, tracking, wandb_api


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
        tracking.mirror(folder, mode)
    connection.client().teardown()  # all is written


def command(source: Path | str, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """python -m sweeps.fetch."""
    line = [sys.executable, "-m", "sweeps.fetch", str(source), "--out", str(out), "--to", str(out.parent / "fetched")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run([*line, *more], env=environment, cwd=out.parent, capture_output=True, text=True)


def draw(source: Path | str, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Table and figures of a source."""
    return command(source, out, "--formats", "pdf", *more)


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


@pytest.mark.slow
def test_logs_alone_give_everything(truth: tuple[Path, dict[str, bytes]], logs: Path, tmp_path: Path) -> None:
    path, expected = truth
    assert len(list(logs.iterdir())) == 8
    done = draw(logs, tmp_path / "again")
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert drawn(tmp_path / "again") == expected and len(expected) > 8
    (copy,) = (tmp_path / "fetched").glob("*/token_loss")
    same_runs(path, copy)
    for source, out in ((path, "one"), (logs, "other")):
        done = command(source, tmp_path / out, "--draw", "report")
        assert done.returncode == 0, done.stderr
    pages = [drawn(tmp_path / out) for out in ("one", "other")]
    assert all(list(page) == ["index.html"] for page in pages)
    without_links = [re.sub(rb'href="\./[^"]*"', b"", page["index.html"]) for page in pages]
    assert without_links[0] == without_links[1], "but for links to where each was read from"


def test_what_is_not_ours_among_logs_is_left_out_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain_surroundings(monkeypatch, tmp_path)
    folder = run_folder(tmp_path / "modules")
    whole(folder, tracking.tracker(folder))
    contents(tmp_path / "modules")
    logs = tmp_path / "modules" / "wandb"
    for name, content in {
        "a.wandb": b"",
        "b.wandb": b"<html>not found</html>",
        "c.wandb": framed([b"\xff\xff\xff"]),
        **{f"d{i}.wandb": framed([run_record(("lr", "0.1"), ("odd", "{"))]) for i in range(5)},
        "e.wandb": framed([run_record(("record", '"of another kind"'))]),
        "f.wandb": framed([run_record(job_type="eval")]),
    }.items():
        (logs / name).write_bytes(content)
    (logs / "g.wandb").mkdir()
    (logs / "h.wandb").symlink_to("h.wandb")
    (found,) = fetch_runs.fetch([str(logs)], tmp_path / "fetched")
    assert found.name == "modules" and len(list(found.glob("*/run.json"))) == 1
    said = capsys.readouterr().err.replace(f"{logs}/", "").splitlines()
    assert said[0].startswith("left out: a.wandb: holds no record") and "not a .wandb file" in said[1]
    assert said[2].startswith("left out: c.wandb: holds no records of W&B's client")
    assert said[3:8] == [f"d{i}.wandb: 1 values that are no JSON are left out, the first of them odd" for i in range(5)]
    assert said[8:] == ["left out, no runs of this suite: d0.wandb, d1.wandb, d2.wandb and 3 more"]
    with pytest.raises(UserError, match=r"^.*c\.wandb: holds no records"):
        fetch_runs.fetch([str(logs / "c.wandb")], tmp_path / "fetched")
    with pytest.raises(UserError, match=r"d1\.wandb: holds no run of this suite"):
        fetch_runs.fetch([str(logs / "d1.wandb")], tmp_path / "fetched")


def test_a_folder_is_of_wandb_if_it_has_logs_and_no_runs_whatever_its_name(tmp_path: Path) -> None:
    (tmp_path / "logs" / "deep").mkdir(parents=True)
    assert not fetch_runs.of_wandb(str(tmp_path / "logs")) and not fetch_runs.of_wandb(str(tmp_path / "wandb-none"))
    (tmp_path / "logs" / "deep" / "x.wandb").touch()
    assert all(map(fetch_runs.of_wandb, (str(tmp_path / "logs"), "wandb:a/b", "none.wandb")))
    for name in ("logs/study.json", "study.json"):
        (tmp_path / name).touch()
        assert not fetch_runs.of_wandb(str((tmp_path / name).parent)), "run folders; the logs lie within"


def test_a_killed_runs_log_gives_its_rows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plain_surroundings(monkeypatch, tmp_path)
    folder = run_folder(tmp_path / "modules")
    tracker = tracking.tracker(folder)
    log_all(folder, tracker)
    tracker.results(folder)
    tracker.finish("pending")
    log = contents(tmp_path / "modules")
    rows = [row for row in log.rows if "archive/data" not in row]
    killed = restore.restore_run(restore.Held("x.wandb", log.config, log.summary, rows))
    assert killed is not None and killed.missing == ("probes.npz", "samples.jsonl")
    restore.write([killed], tmp_path / "copy")
    restored = tmp_path / "copy" / killed.study / killed.name
    rows = read(folder / "metrics.jsonl")
    assert read(restored / "metrics.jsonl") == restore.metrics(rows) and len(rows) == 6
    assert read(restored / "scores.json") == read(folder / "scores.json")


def test_of_a_run_held_twice_the_finished_one_counts(tmp_path: Path) -> None:
    record = {"study": "s", "arm": "a", "seed": 1, "hash": "0123abcd"}
    done = restore.Restored(record | {"state": "finished", "finished": "1"}, {"run.json": b"done"}, ())
    again = restore.Restored(record | {"state": "running"}, {"run.json": b"again"}, ())
    assert restore.write([done, again], tmp_path) == {"s": [done]}
    assert (tmp_path / "s" / "a-s1-0123abcd" / "run.json").read_bytes() == b"done"


@pytest.mark.parametrize("name", ["../../up", "..", "a/b", ""])
def test_names_from_outside_never_leave_the_folder(name: str) -> None:
    record = {"format": 1, "study": "s", "arm": "a", "seed": 1, "hash": "0123abcd"}
    assert restore.restore_run(restore.Held("x", {"record": record}, {}, [])) is not None
    for key in ("study", "arm", "hash"):
        assert restore.restore_run(restore.Held("x", {"record": record | {key: name}}, {}, [])) is None


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


@pytest.mark.slow
def test_a_server_gives_everything(
    truth: tuple[Path, dict[str, bytes]], wandb_server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path, expected = truth
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "w"))
    monkeypatch.setenv("WANDB_PROJECT", "Größe & mehr")
    mirrored(path, "online")
    second = study(tmp_path / "other", seeds=(1,)).rename(tmp_path / "other" / "second")
    for file in (second / "study.json", *second.glob("*/run.json")):
        edit(file, study="second")
    mirrored(second, "online")
    source = "wandb:local/Größe & mehr"
    done = draw(source, tmp_path / "again", "--study", "token_loss")
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert drawn(tmp_path / "again") == expected
    (copy,) = (tmp_path / "fetched").glob("Größe-mehr-*/token_loss")
    same_runs(path, copy)
    done = command(source, tmp_path / "report", "--draw", "report")
    assert done.returncode == 2 and "holds second, token_loss; a report is of one: name it with STUDY=" in done.stderr
    monkeypatch.setattr(wandb_api, "_outputs", lambda run: {})  # as if the artifacts were gone: from the history
    runs = [restore.restore_run(one) for one in wandb_api.runs_in("wandb:Größe & mehr")]
    restore.write([run for run in runs if run is not None], tmp_path / "from history")
    same_runs(path, tmp_path / "from history" / "token_loss")
    assert wandb_server.backend.unknown == []


CROWD = """
import os, sys, wandb
def init(id, **more):
    return wandb.init(project="p", id=id, job_type="train", dir=sys.argv[1], settings={"silent": True}, **more)
with init("theirs", config={"lr": 0.1}) as run:
    run.log({"train/step": 1})
    artifact = wandb.Artifact("outputs-theirs", type="outputs")
    with artifact.new_file("run.json") as file:
        file.write("{}")
    run.log_artifact(artifact)
with init("odd", config={"record": {"study": "../up"}}) as run:
    run.log({"train/step": 1})
"""


@pytest.mark.slow
def test_of_a_project_shared_with_others_only_what_is_ours_is_read(
    wandb_server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "p")
    subprocess.run([sys.executable, "-c", CROWD, str(tmp_path)], check=True, capture_output=True)
    backend = wandb_server.backend
    done, running, deleted = (run_folder(tmp_path / "modules", seed) for seed in (1, 2, 3))
    for seed, folder in enumerate((done, running, deleted), 1):
        hash8 = f"{seed}23abcde"
        edit(folder / "run.json", hash=hash8, arm="a")
        tracker = tracking.WandbTracker(folder, "online")
        log_all(folder, tracker)
        if folder != running:
            tracker.results(folder)
            records.finish(folder)
            tracker.finish("finished")
    until(lambda: len(backend.runs[tracking.identity(records.read(running)).id]["history"]) == 6, what="the rows")
    outputs = [a for a in backend.artifacts.values() if a["type"] == "outputs" and a["made_by"] != "theirs"]
    newest = {**outputs[0], "id": "newest", "version": "v10", "files": outputs[0]["files"] | {"big": "nowhere"}}
    older = {**outputs[0], "id": "older", "version": "v9", "files": {}}
    backend.artifacts |= {"newest": newest, "older": older}
    for place in outputs[1]["files"].values():
        del backend.blobs[place]  # its files were deleted
    (found,) = fetch_runs.fetch(["wandb:local/p"], tmp_path / "fetched")
    states = {path.parent.name: records.read(path.parent)["state"] for path in found.glob("*/run.json")}
    assert states == {"a-s1-123abcde": "finished", "a-s2-223abcde": "pending", "a-s3-323abcde": "finished"}
    assert (found / "a-s3-323abcde" / "samples.jsonl").read_bytes() == (deleted / "samples.jsonl").read_bytes()
    assert len(read(found / "a-s2-223abcde" / "metrics.jsonl")) == 6
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if "are not to be had" in line and "read from its history" in line] == said[:1]
    assert said[1:] == ["left out, no runs of this suite: local/p/theirs, local/p/odd"]
    assert not [place for place in backend.unknown if "nowhere" in place or "theirs" in place]
    assert backend.calls["ArtifactMembershipFiles"] == 2
    connection.client().teardown()


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
            list(fetch_runs.runs_in([source]))
    monkeypatch.setattr(connection, "server", lambda: "http://127.0.0.1:9")
    with pytest.raises(UserError, match="does not answer"):
        list(fetch_runs.runs_in(["wandb:local/p"]))
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.delenv("WANDB_API_KEY")
    with pytest.raises(UserError, match="wandb login"):
        list(fetch_runs.runs_in(["wandb:local/p"]))
    assert wandb_server.backend.unknown == []


# Where it goes


def test_each_source_has_a_folder_below_the_given_one() -> None:
    assert fetch_runs._slug(["wandb:me/my-project.2"]) == "me--my-project.2"
    sources = [["wandb:.."], ["wandb:."], ["wandb:a b/c"], ["wandb:a-b/c"], ["wandb:" + "x" * 300], ["wandb:a", "b"]]
    names = [fetch_runs._slug(source) for source in sources]
    assert len(set(names)) == len(names) and all(re.fullmatch(r"[\w-]+", name) and len(name) < 60 for name in names)


def test_nothing_that_was_not_made_here_is_overwritten(tmp_path: Path) -> None:
    place = tmp_path / "fetched" / "local--p"
    fetch_runs.replace(place, [], ["wandb:local/p"])
    fetch_runs.replace(place, [], ["wandb:local/p"])
    with pytest.raises(UserError, match=r"fetched.json.x cannot be written: Not a directory; .*--to"):
        fetch_runs.replace(place / fetch_runs.MARK / "x", [], ["wandb:local/p"])
    (place / fetch_runs.MARK).unlink()
    (place / "mine").touch()
    with pytest.raises(UserError, match="was not made by this command"):
        fetch_runs.replace(place, [], ["wandb:local/p"])
    assert (place / "mine").exists() and [p.name for p in place.parent.iterdir()] == ["local--p"]
