"""One sweep file, two engines: W&B's real client and agent, and our own sweep, with and without the sweep's id.

Run as a script this file is the program of the arms (`arm`) or a worker of the Optuna sweep (`work`), with training
left out.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from standin import ENTITY, Server
from wandb.proto import wandb_internal_pb2

from ablations import records
from ablations.metrics_log import MetricsLog
from core.config import RunConfig, flat
from core.errors import command
from core.run_folder import read, write_json
from sweeps import agent, arm, worker
from sweeps.running import conduct, display, prepare, report, write_sweep
from sweeps.running.options import SweepOptions
from sweeps.running.write_sweep import FileOptions
from sweeps.wb import sweep_file

ROOT = Path(__file__).parents[1]
ME = [sys.executable, str(Path(__file__).resolve())]
STUDY = "self_conditioning"
"""A study of two arms: `wandb agent` takes five seconds and more for each point."""


def fake(config: RunConfig, folder: Path, tracker: records.Tracker) -> None:
    """A run without training; with 77 updates it never ends by itself."""
    with MetricsLog(folder / "metrics.jsonl", None, tracker.log) as log:
        for step in (1, 2):
            log.log({"train/step": step, "train/loss": 1 / step})
        while config.training.updates == 77:
            time.sleep(0.1)
    write_json(folder / "scores.json", {"bleu": 10.0 + flat(config)["self_conditioning"]})
    tracker.results(folder)
    records.finish(folder)


def here(folder: Path, **more: str) -> dict[str, Any]:
    """Where and in which environment a command runs: in a folder of its own, with the project's packages."""
    folder.mkdir(exist_ok=True)
    env = {k: v for k, v in os.environ.items() if k not in ("WANDB_DATA_DIR", "WANDB_ARTIFACT_DIR", "WANDB_SILENT")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    env |= {"PYTHONPATH": str(ROOT), "PATH": path, **more}
    return {"cwd": folder, "env": env, "capture_output": True, "text": True, "timeout": 240}


def run(line: list[str], **where: Any) -> str:
    """Run a command that must succeed; returns what it printed."""
    done = subprocess.run(line, check=False, **where)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def runs_in(folder: Path) -> dict[str, float]:
    """Name and score of each finished run, and that study.json has just these."""
    (place,) = [path.parent for path in folder.glob("runs/*/study.json")]
    found = {path.parent.name: json.loads(path.read_text())["bleu"] for path in place.glob("*/scores.json")}
    facts = json.loads((place / "study.json").read_text())
    assert sorted(facts["runs"]) == sorted(found) and facts["seeds"] == [1] and facts["control"] == "selfcond-True"
    assert all(records.read(place / name)["state"] == "finished" for name in found)
    return found


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """The sweep file of a study; for_wandb.yaml has a program that leaves out training."""
    content = write_sweep.describe(FileOptions(study=STUDY, preset="smoke", seeds=1))
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    content["command"] = ["${env}", *ME, "arm", "${args}"]
    path.with_name("for_wandb.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def plain_jobs() -> list[str]:
    """The runs of the plain Optuna sweep of that study."""
    sweep, _ = prepare.prepare(SweepOptions(study=STUDY, preset="smoke", seeds=1), "sweeps.study")
    return sorted(job.key for job in sweep.jobs)


@pytest.mark.slow
def test_the_same_runs_through_wandb_our_agent_and_optuna(
    wandb_server: Server, written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = run(["wandb", "sweep", "../for_wandb.yaml"], **here(tmp_path / "wandb"))
    sweep_id = f"{ENTITY}/embedding-diffusion/sweep000"
    assert f"wandb agent {sweep_id}" in said
    run(["wandb", "agent", sweep_id], **here(tmp_path / "wandb"))
    backend = wandb_server.backend
    assert len(backend.runs) == 2, "W&B has a run for each point"
    for online in backend.runs.values():
        assert (online["sweep"], online["exitcode"], online["groupName"]) == ("sweep000", 0, f"{STUDY}-smoke")
        assert online["summary"]["test/bleu"] == 10.0 + online["config"]["self_conditioning"]["value"]
    with monkeypatch.context() as patch:
        (tmp_path / "local").mkdir()
        patch.chdir(tmp_path / "local")
        patch.setenv("WANDB_MODE", "offline")
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setattr(sys, "argv", ["agent", str(written), "--workers", "2"])
        patch.setattr(agent, "prepare", without_training)
        patch.setattr(report, "analyse", lambda sweep, figures: True)
        assert agent.main() == 0
        patch.setenv("WANDB_MODE", "disabled")
        (tmp_path / "optuna").mkdir()
        patch.chdir(tmp_path / "optuna")
        sweep, _ = prepare.prepare(SweepOptions(study=str(written)), "sweeps.study")
        conduct.conduct(replace(sweep, worker=(*ME, "work")), display.Lines(2, "bleu"))
    through = {engine: runs_in(tmp_path / engine) for engine in ("wandb", "local", "optuna")}
    assert through["wandb"] == through["local"] == through["optuna"]
    assert sorted(through["wandb"]) == plain_jobs(), "and these are the runs of the study by its name"
    check_sync(wandb_server, tmp_path / "local", sweep_file.load(written).sweep_id)
    assert backend.unknown == []


def without_training(*given: Any) -> Any:
    """The sweep that was asked for, with workers that leave out training."""
    sweep, preset = prepare.prepare(*given)
    return replace(sweep, worker=(*ME, "work")), preset


def check_sync(server: Server, folder: Path, sweep_id: str) -> None:
    """`wandb sync` sends the runs of our agent with their sweep's id."""
    places = sorted(folder.glob("runs/*/wandb/offline-run-*"))
    assert len(places) == 2
    for place in places:
        (file,) = place.glob("*.wandb")
        assert {record.run.sweep_id for record in first_records(file) if record.HasField("run")} == {sweep_id}
    run(["wandb", "sync", *map(str, places)], **here(folder))
    synced = [server.backend.runs[place.name.split("-", 3)[3]] for place in places]
    assert [one["sweep"] for one in synced] == [sweep_id] * 2
    assert sorted(one["summary"]["test/bleu"] for one in synced) == [10.0, 11.0]


def first_records(path: Path) -> Iterator[Any]:
    """The records of a .wandb file that lie whole in its first block (7 bytes of header; then crc, length, type)."""
    record = vars(wandb_internal_pb2)["Record"]
    block, at = path.read_bytes()[:32768], 7
    while at + 7 <= len(block):
        length, kind = int.from_bytes(block[at + 4 : at + 6], "little"), block[at + 6]
        if kind != 1:
            return
        yield record.FromString(block[at + 7 : at + 7 + length])
        at += 7 + length


@pytest.mark.slow
def test_a_finished_arm_is_shown_to_wandb_again(wandb_server: Server, tmp_path: Path) -> None:
    line = [*ME, "arm", "--study=self_conditioning", "--self_conditioning=False", "--preset=smoke"]
    run(line, **here(tmp_path, WANDB_MODE="disabled"))
    agent = {"WANDB_SWEEP_ID": "abc", "WANDB_RUN_ID": "r1", "WANDB_PROJECT": "p"}
    said = run(line, **here(tmp_path, **agent))
    assert "finished already" in said
    shown = wandb_server.backend.runs["r1"]
    assert (shown["sweep"], shown["exitcode"], shown["summary"]["test/bleu"]) == ("abc", 0, 10.0)
    assert [row["train/step"] for row in shown["history"] if "train/step" in row] == [1, 2]
    assert wandb_server.backend.unknown == []


@pytest.mark.slow
def test_an_arm_told_to_end_is_failed_in_wandb_and_loses_no_row(wandb_server: Server, tmp_path: Path) -> None:
    line = [*ME, "arm", "--study=self_conditioning", "--self_conditioning=False", "--preset=smoke", "--updates=77"]
    where = here(tmp_path, WANDB_SWEEP_ID="abc", WANDB_RUN_ID="r1", WANDB_PROJECT="p")
    process = subprocess.Popen(line, cwd=where["cwd"], env=where["env"], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not [path for path in tmp_path.glob("runs/*/*/metrics.jsonl") if len(read(path)) == 2]:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    process.terminate()
    _, err = process.communicate(timeout=120)
    assert process.returncode == 143 and "Traceback" not in err, err
    (path,) = tmp_path.glob("runs/*/*/run.json")
    assert records.read(path.parent)["state"] == "pending", "whoever comes next goes on with it"
    shown = wandb_server.backend.runs["r1"]
    assert (shown["sweep"], shown["exitcode"]) == ("abc", 1)
    assert [row["train/step"] for row in shown["history"] if "train/step" in row] == [1, 2]
    assert wandb_server.backend.unknown == []


@pytest.mark.slow
def test_a_study_is_registered_and_the_commands_are_printed(wandb_server: Server, tmp_path: Path) -> None:
    line = [sys.executable, "-m", "sweeps.wandb_sweep", "--study", "norm", "--seeds", "2", "--preset", "smoke"]
    said = run([*line, "--search", "bayes"], **here(tmp_path))
    path = f"wandb agent {ENTITY}/embedding-diffusion/sweep000"
    assert f"{path}\n" in said and "sweeps.agent" not in said, "our agent cannot run it"
    kept = yaml.safe_load(wandb_server.backend.sweeps["sweep000"]["config"])
    assert kept["method"] == "bayes" and kept["run_cap"] == 30 and kept["metric"]["name"] == "test/bleu"
    said = run(line, **here(tmp_path))
    assert f"{path}\n".replace("sweep000", "sweep001") in said
    assert "python -m sweeps.agent sweeps/wandb/norm-smoke.yaml" in said
    assert len(wandb_server.backend.sweeps["sweep001"]["queue"]) == 6
    assert wandb_server.backend.unknown == []


if __name__ == "__main__":
    role = sys.argv.pop(1)
    sys.exit(command(lambda: (arm if role == "arm" else worker).main(fake))())
