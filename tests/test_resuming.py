"""A training of any method that is stopped and resumed ends to the bit where it would have ended."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ablations import presets
from core import checkpoints, methods, run_folder
from core.config import RunConfig, with_values
from core.evaluator import new_network
from core.methods import method_for
from core.text.batches import BatchStream
from core.text.materials import prepare
from core.training import train
from core.training.job import Job

CPU = torch.device("cpu")
STOP = 7


class Stop(Exception):
    pass


def trained(chosen: RunConfig, folder: Path, log: Callable[[dict[str, Any]], None] = lambda row: None) -> None:
    """Train in a folder; checkpoints are chosen by a score that depends on the weights alone."""
    folder.mkdir(exist_ok=True)
    method, text = method_for(chosen.method), prepare(chosen.data)
    network = new_network(chosen, method, text, CPU)
    stream = BatchStream(text.train, chosen.training.batch_tokens, chosen.seed)

    def validated(network: Any) -> dict[str, float]:
        return {"val/bleu": float(sum(p.detach().double().sin().sum() for p in network.parameters()))}

    train(network, Job(chosen, method, folder, stream, validated, log))


def stopping(row: dict[str, Any]) -> None:
    if row["train/step"] == STOP and "train/loss" in row:
        raise Stop


@pytest.mark.parametrize("name", methods.names())
def test_every_method_resumes_to_the_bit(name: str, tmp_path: Path) -> None:
    chosen = with_values(presets.get("smoke").config_for(name), {"checkpoint_seconds": 0.0, "log_every": 1})
    trained(chosen, tmp_path / "whole")
    with pytest.raises(Stop):
        trained(chosen, tmp_path / "half", stopping)
    trained(chosen, tmp_path / "half")
    for file in (run_folder.STATE, run_folder.WEIGHTS):
        ours, theirs = (checkpoints.load(tmp_path / half / file)[0] for half in ("whole", "half"))
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
