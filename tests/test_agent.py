"""Our sweep files without a server: the sweep's own workers, folders and table, and the sweep's id in every run."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_engines import ME, STUDY

from ablations import records
from sweeps import agent
from sweeps.running import prepare, report, write_sweep
from sweeps.running.options import SweepOptions
from sweeps.running.point_runs import enter_sweep, in_sweep
from sweeps.running.write_sweep import FileOptions
from sweeps.wb import sweep_file, tracking, wandb_file

ARMS = "method: grid\nprogram: sweeps/arm.py\nparameters:\n  study: {value: noise_factor}"


class Desk:
    """A user's folder with a sweep file, and agents that are started there, with training left out."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, **content: Any) -> None:
        self.folder, self.patch = folder, patch
        patch.chdir(folder)
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
        patch.setattr(agent, "prepare", self.prepare)
        patch.setattr(report, "analyse", lambda sweep, figures: True)
        made = write_sweep.describe(FileOptions(study=STUDY, preset="smoke", seeds=2)) | content
        Path("sweep.yaml").write_text(yaml.safe_dump(made, sort_keys=False))

    def prepare(self, *given: Any) -> Any:
        """The sweep, with workers that train nothing."""
        sweep, preset = prepare.prepare(*given)
        return replace(sweep, worker=(*ME, "work")), preset

    def agent(self, *options: str) -> int:
        """An agent from start to end: its status."""
        self.patch.setattr(sys, "argv", ["agent", "sweep.yaml", *options])
        for name in ("WANDB_PROJECT", "WANDB_ENTITY"):
            self.patch.setenv(name, "")
        return agent.main()

    def records(self) -> list[dict[str, Any]]:
        """The records of all runs."""
        return [records.read(path.parent) for path in sorted(self.folder.glob("runs/*/*/run.json"))]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A folder with a sweep of two arms and two seeds."""
    return Desk(tmp_path, monkeypatch, project="theirs")


def test_every_point_once_and_its_run_has_the_sweep_in_wandb(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert desk.agent("--workers", "2") == 0
    sweep_id = sweep_file.load(Path("sweep.yaml")).sweep_id
    made = desk.records()
    assert [record["state"] for record in made] == ["finished"] * 4
    assert [record["wandb"]["sweep"] for record in made] == [sweep_id] * 4
    said = capsys.readouterr().out
    assert f"to send them to W&B: wandb sync runs/{STUDY}-smoke/wandb/offline-run-*" in said
    (study,) = desk.folder.glob("runs/*")
    logs = [wandb_file.read(path) for path in study.glob("wandb/offline-run-*/*.wandb")]
    assert {log.run_id for log in logs} == {record["wandb"]["id"] for record in made} and len(logs) == 4
    assert {(log.sweep, log.project, log.group) for log in logs} == {(sweep_id, "theirs", f"{STUDY}-smoke")}
    ran = [record["attempts"] for record in made]
    assert desk.agent() == 0 and [record["attempts"] for record in desk.records()] == ran == [1] * 4


def test_the_first_points_and_how_all_stand(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert desk.agent("--count", "2", "--workers", "1", "--sweep-id", "mine") == 0
    assert [record["wandb"]["sweep"] for record in desk.records()] == ["mine"] * 2
    capsys.readouterr()
    assert desk.agent("--dry-run") == 1 and "2 of 4 runs to do" in capsys.readouterr().out
    assert desk.agent("--dry-run", "--count", "2") == 0


def test_random_points_are_the_same_for_the_sweep_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = {"method": "random", "run_cap": 3}
    found = write_sweep.describe(FileOptions(study=STUDY, preset="smoke", search="random"))
    desk = Desk(tmp_path, monkeypatch, **found | made)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert desk.agent() == 0
    sweep, _ = prepare.prepare(SweepOptions(study="sweep.yaml"), "sweeps.study")
    assert {record["hash"] for record in desk.records()} == {job.hash8 for job in sweep.jobs}
    assert len(desk.records()) == 3


def test_runs_that_were_there_get_the_sweep_unless_they_have_one(tmp_path: Path) -> None:
    sweep, _ = prepare.prepare(SweepOptions(study=STUDY, preset="smoke", seeds=1, runs=tmp_path), "sweeps.study")
    first, second = (in_sweep(job, "mine") for job in sweep.jobs)
    assert not enter_sweep(first, tmp_path), "not there yet"
    folders = [job.create(tmp_path) for job in sweep.jobs]
    theirs = {"id": "r1", "group": "g", "sweep": "theirs"}
    records.update(folders[0], wandb=theirs, state="finished")
    records.update(folders[1], state="finished")
    assert not enter_sweep(first, tmp_path) and enter_sweep(second, tmp_path) and not enter_sweep(second, tmp_path)
    assert records.read(folders[0])["wandb"] == theirs
    found = records.read(folders[1])
    assert tracking.identity(found) == tracking.Identity(tracking.own_id(found), f"{STUDY}-smoke", "mine")


def test_finished_runs_without_the_sweep_are_said(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.patch.setenv("WANDB_MODE", "disabled")
    assert desk.agent("--count", "1") == 0
    (path,) = desk.folder.glob("runs/*/*/run.json")
    record = json.loads(path.read_text())
    del record["wandb"]
    path.write_text(json.dumps(record))
    assert desk.agent("--count", "1") == 0
    said = capsys.readouterr().out
    assert "1 runs were finished before they had the sweep's id" in said
    assert f"python -m sweeps.mirror runs/{STUDY}-smoke" in said


@pytest.mark.parametrize(
    ("options", "text", "wrong"),
    [
        (["--workers", "0"], f"{ARMS}\n  noise_factor: {{value: 4}}", "--workers 0: must be at least 1"),
        (["--count", "0"], f"{ARMS}\n  noise_factor: {{value: 4}}", "--count 0: must be at least 1"),
        (["--sweep-id", "a/b"], f"{ARMS}\n  noise_factor: {{value: 4}}", "give the id alone"),
        ([], f"{ARMS}\n  noise_factor: {{value: 4}}\n  folder: {{value: a b}}", "w.yaml:6: --folder a b: names a"),
        ([], f"{ARMS}\n  noise_factor: {{values: [4, 5]}}", "w.yaml:5: --noise_factor: 5 is no level of this factor"),
        ([], "program: train.py\nmethod: grid", "w.yaml:1: its program is not sweeps/arm.py"),
        ([], "program: sweeps/arm.py\nmethod: bayes", "w.yaml:2: method `bayes` needs W&B's server"),
        ([], ARMS.replace("grid", "random"), "w.yaml:1: method random has no end"),
    ],
)
def test_what_is_wrong_is_one_message(
    options: list[str], text: str, wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("w.yaml").write_text(text)
    monkeypatch.setattr(sys, "argv", ["agent", "w.yaml", *options])
    with pytest.raises(SystemExit, match="2"):
        agent.command(agent.main)()
    assert wrong in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["w.yaml"]
