"""What an agent of a W&B sweep tells a run is what the run is called: read from the record the real client wrote."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tracked import ROOT, contents, run_folder

from ablations import records
from sweeps.wb import wandb_file

CODE = """
import sys
from pathlib import Path
from ablations import records
from sweeps.wb import tracking
folder = Path(sys.argv[1])
tracker = tracking.tracker(folder)
tracker.log({"train/step": 1, "train/loss": 0.5})
tracker.results(folder)
records.finish(folder)
tracker.finish("finished")
"""
POINT = {"lr": 0.5, "noise_factor": 2.0, "model": {"depth": 3}}


def under_an_agent(study: Path, *line: str, **environment: str) -> tuple[wandb_file.Log, str]:
    """Run a command with the environment that an agent gives; what the client wrote, and what stood on stderr."""
    parameters = study.parent / "parameters.yaml"
    parameters.write_text(json.dumps({"wandb_version": 1} | {k: {"value": v} for k, v in POINT.items()}))
    values = {"WANDB_SWEEP_ID": "abc12345", "WANDB_RUN_ID": "k3v9x2m1", "WANDB_SWEEP_PARAM_PATH": str(parameters)}
    values |= {"WANDB_PROJECT": "theirs", "PYTHONPATH": str(ROOT), **environment}
    values = {name: value for name, value in {**os.environ, **values}.items() if value}
    done = subprocess.run([sys.executable, *line], env=values, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return contents(study), done.stderr


@pytest.mark.parametrize("group", ["", "sweep-abc12345"])
def test_the_agents_names_and_values_are_kept(tmp_path: Path, group: str) -> None:
    study = tmp_path / "modules"
    folder = run_folder(study)
    found, err = under_an_agent(study, "-c", CODE, str(folder), WANDB_RUN_GROUP=group)
    config = found.config
    assert (found.run_id, found.sweep, found.project) == ("k3v9x2m1", "abc12345", "theirs")
    assert found.group == (group or "modules")
    assert {name: config[name] for name in POINT} == POINT, "the sweep's values have the last word"
    assert config["seed"] == 1 and config["anchor_loss"] is True and config["record"]["config"]["lr"] == 1e-3
    assert found.exit_code == 0 and [row["train/loss"] for row in found.rows if "train/loss" in row] == [0.5]
    assert err == "", "nothing was ignored, and nothing said"
    assert records.read(folder)["wandb"] == {"id": "k3v9x2m1", "group": group or "modules", "sweep": "abc12345"}


def test_such_a_run_is_mirrored_into_its_sweep_without_the_agent(tmp_path: Path) -> None:
    study = tmp_path / "modules"
    folder = run_folder(study)
    before, _ = under_an_agent(study, "-c", CODE, str(folder))
    anew = {"WANDB_SWEEP_ID": "", "WANDB_RUN_ID": "", "WANDB_SWEEP_PARAM_PATH": ""}
    after, _ = under_an_agent(study, "-m", "sweeps.mirror", str(study), **anew)
    assert (after.run_id, after.sweep) == (before.run_id, before.sweep) == ("k3v9x2m1", "abc12345")
