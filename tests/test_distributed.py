"""One run on several processes: the same losses as one process with the whole batch, one end for all, one writer."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import postgres
import pytest
import torch
from parts import reduced_apart

from ablations import presets, records
from core import run_folder
from core.config import RunConfig, with_values
from core.diffusion.draws import Draws
from core.distributed import Ranks
from core.evaluator import new_network
from core.methods import method_for
from core.text.materials import prepare
from core.training.step import reduced, take_part

ROOT = Path(__file__).parents[1]
CPU = torch.device("cpu")


def config(method: str, **values: Any) -> RunConfig:
    return with_values(presets.get("smoke").config_for(method), {"dropout": 0.0, **values})


CASES = [
    config("difformer", length_loss_factor=0.3, token_loss=token_loss) for token_loss in ("anchor", "rounding", "none")
]


@pytest.mark.parametrize("size", [2, 3, 20])
@pytest.mark.parametrize("chosen", [*CASES, config("autoregressive")], ids=["anchor", "rounding", "none", "from left"])
def test_shares_add_up_to_the_loss_and_gradient_of_the_whole_batch(size: int, chosen: RunConfig) -> None:
    method = method_for(chosen.method)
    model = new_network(chosen, method, prepare(chosen.data), CPU)
    batch = prepare(chosen.data).train.batch([0, 1, 2, 3, 4, 5, 6])
    lengths = batch.target_mask.sum(1).tolist()
    assert len(set(lengths)) > 1, "rows of different lengths, so that means of means would be wrong"
    draws = method.draw(model, batch, 1, 0)
    if isinstance(draws, Draws):
        draws = Draws(draws.t, draws.eps, True)

    whole = reduced(method.loss(model, batch, draws))
    whole.backward()
    wanted = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    found = torch.stack(
        reduced_apart([method.loss(model, *take_part(Ranks(rank, size), batch, draws)) for rank in range(size)])
    ).sum()
    found.backward()
    assert found.item() == pytest.approx(whole.item(), rel=1e-5)
    assert wanted
    for name, p in model.named_parameters():
        if name in wanted:
            torch.testing.assert_close(p.grad, wanted[name], rtol=1e-4, atol=1e-6)


ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "WANDB_MODE": "disabled"}
RUN = ["-m", "ablations.run", "--preset", "smoke", "--device", "cpu", "--dropout", "0", "--log_every", "1"]
RUN += ["--checkpoint_seconds", "0", "--updates", "16", "--valid_every", "8", "--runs"]


def start(line: list[str], **more: str) -> "subprocess.Popen[str]":
    """A Python process."""
    env = ENVIRONMENT | more
    return subprocess.Popen([sys.executable, *line], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def torchrun(runs: Path) -> "subprocess.Popen[str]":
    """The run on two processes, as one types it."""
    where = ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"]
    return start(["-m", "torch.distributed.run", "--nproc-per-node", "2", *where, *RUN, str(runs)])


def pair(runs: Path) -> "list[subprocess.Popen[str]]":
    """The two processes that torchrun would start, each with what it would tell them."""
    told = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(postgres.free_port())}
    return [start([*RUN, str(runs)], RANK=str(rank), LOCAL_RANK=str(rank), **told) for rank in range(2)]


def rows(runs: Path) -> list[dict[str, Any]]:
    """The metrics of the only run."""
    return [row for path in runs.glob("single/*/metrics.jsonl") for row in run_folder.read(path)]


def wait_for_rows(runs: Path, more_than: int, *processes: "subprocess.Popen[str]") -> None:
    """Until the run has logged something, or is over."""
    while len(rows(runs)) <= more_than and all(process.poll() is None for process in processes):
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_processes_killed_and_stopped_and_resumed_have_the_losses_of_one(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    single = start([*RUN, str(one)])
    first, second = pair(two)
    wait_for_rows(two, 0, first, second)
    second.kill()
    second.communicate()
    _, said = first.communicate(timeout=120)
    folder = next(two.glob("single/*"))
    assert first.returncode == 2 and "another process of this run ended" in said and "Traceback" not in said, said
    assert records.read(folder)["state"] == "pending" and not records.busy(folder)

    launcher, before = torchrun(two), len(rows(two))
    wait_for_rows(two, before, launcher)
    launcher.send_signal(signal.SIGTERM)
    _, said = launcher.communicate(timeout=120)
    assert launcher.returncode != 0
    assert (records.read(folder)["state"], records.read(folder)["reason"]) == ("pending", "interrupted"), said
    assert before <= len(rows(two)) < 16 and not records.busy(folder)

    shown = []
    for process in (*pair(two), single):
        out, said = process.communicate(timeout=240)
        assert process.returncode == 0, said
        shown.append(out)
    assert "validation after update 16 of 16" in shown[0] and shown[1] == "", "the first process alone shows the run"
    assert (records.read(folder)["state"], records.read(folder)["ranks"]) == ("finished", 2)
    assert len(rows(two)) == len(rows(one)) == 18
    for ours, theirs in zip(rows(two), rows(one), strict=True):
        assert ours.keys() == theirs.keys()
        for name in ours.keys() - {"train/seconds"}:
            assert ours[name] == pytest.approx(theirs[name], rel=1e-4, abs=1e-6), name
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    assert names >= {"scores.json", "samples.jsonl", "probes.npz", "model.safetensors"}
