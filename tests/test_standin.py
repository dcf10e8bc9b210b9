"""The stand-in for W&B's server, by the real client: a run arrives whole."""

from pathlib import Path

import pytest
import wandb
from standin import Server


def test_a_run_arrives(wandb_server: Server, tmp_path: Path) -> None:
    with wandb.init(project="p", dir=str(tmp_path), id="r1", config={"F": 4}, settings={"silent": True}) as run:
        for step in range(3):
            run.log({"train/step": step, "train/loss": 0.5})
    found = wandb_server.backend.runs["r1"]
    assert found["config"]["F"]["value"] == 4 and found["exitcode"] == 0 and found["project"] == "p"
    assert [row["train/step"] for row in found["history"]] == [0, 1, 2]
    assert wandb_server.backend.unknown == []


def test_what_is_not_known_is_noted(wandb_server: Server) -> None:
    with pytest.raises(KeyError, match="no answer for Nothing"):
        wandb_server.backend.graphql("Nothing", "", {})
