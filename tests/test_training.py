"""Training: the learning rate, exact resume, kill at any moment, the mean of the best checkpoints."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ablations import presets
from core import checkpoints, run_folder
from core.config import RunConfig, with_values
from core.diffusion.denoiser import Denoiser
from core.diffusion.draws import Draws, training_draws
from core.diffusion.objectives import predict, terms
from core.errors import TimeIsUp, UserError
from core.evaluator import new_network
from core.methods import method_for
from core.precision import autocast
from core.sections import ObjectiveConfig, TrainingConfig
from core.text.batches import Batch, BatchStream
from core.text.materials import prepare
from core.training import train
from core.training.job import Job
from core.training.optimizer import learning_rate
from core.training.step import reduced

CPU = torch.device("cpu")


def config(**values: Any) -> RunConfig:
    return with_values(presets.get("smoke").config, {"checkpoint_seconds": 0.0, **values})


def job(chosen: RunConfig, folder: Path, log: Callable[[dict[str, Any]], None] = lambda row: None) -> Job:
    folder.mkdir(exist_ok=True)
    stream = BatchStream(prepare(chosen.data).train, chosen.training.batch_tokens, chosen.seed)
    return Job(chosen, method_for(chosen.method), folder, stream, score, log)


def score(model: Denoiser) -> dict[str, float]:
    """A score that depends on the weights alone."""
    return {"val/bleu": float(model.embedding.table.detach().double().sin().sum())}


def fresh(chosen: RunConfig) -> Denoiser:
    made: Denoiser = new_network(chosen, method_for(chosen.method), prepare(chosen.data), CPU)
    return made


def weights(model: Denoiser) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_learning_rate_warms_up_then_falls_with_the_root() -> None:
    schedule = TrainingConfig(lr=1e-3, warmup=100, warmup_init_lr=1e-7)
    assert learning_rate(schedule, 0) == pytest.approx(1e-7)
    assert learning_rate(schedule, 50) == pytest.approx((1e-7 + 1e-3) / 2)
    assert learning_rate(schedule, 100) == pytest.approx(1e-3)
    assert learning_rate(schedule, 400) == pytest.approx(5e-4)


def loss_of(chosen: RunConfig, model: Denoiser, batch: Batch, draws: Draws) -> torch.Tensor:
    """The loss of a batch, as a training step makes it."""
    return reduced(method_for(chosen.method).loss(model, batch, draws))


class Stop(Exception):
    pass


@pytest.mark.parametrize("stop", [1, 4, 6, 11])
@pytest.mark.parametrize("values", [{}, {"dropout": 0.3, "token_loss": "rounding"}], ids=["full", "dropout, rounding"])
def test_stopped_and_resumed_ends_with_the_same_weights(stop: int, values: dict[str, Any], tmp_path: Path) -> None:
    chosen = config(log_every=1, **values)
    whole, half = fresh(chosen), fresh(chosen)
    train(whole, job(chosen, tmp_path / "whole"))

    def stopping(row: dict[str, Any]) -> None:
        if row["train/step"] == stop and "train/loss" in row:
            raise Stop

    with pytest.raises(Stop):
        train(half, job(chosen, tmp_path / "half", stopping))
    resumed = fresh(with_values(chosen, {"seed": 1}))
    assert _stamp(tmp_path / "half") < stop
    outcome = train(resumed, job(chosen, tmp_path / "half"))
    assert outcome.steps == chosen.training.updates
    assert_same_end(tmp_path / "whole", tmp_path / "half")


def assert_same_end(one: Path, other: Path) -> None:
    """The same weights, optimizer, choice of checkpoints and final model in both folders."""
    for name in (run_folder.STATE, run_folder.WEIGHTS):
        (tensors, facts), (others, other_facts) = (checkpoints.load(folder / name) for folder in (one, other))
        assert same(tensors, others)
        facts.pop("seconds", None)
        other_facts.pop("seconds", None)
        assert facts == other_facts


def test_stopped_within_a_validation_it_makes_that_validation_again(tmp_path: Path) -> None:
    chosen = config(checkpoint_seconds=1e9)
    train(fresh(chosen), job(chosen, tmp_path / "whole"))

    with pytest.raises(Stop):
        train(fresh(chosen), dataclasses.replace(job(chosen, tmp_path / "half"), validate=stopping))
    train(fresh(chosen), job(chosen, tmp_path / "half"))
    assert_same_end(tmp_path / "whole", tmp_path / "half")


def stopping(model: Denoiser) -> dict[str, float]:
    """A validation that breaks off."""
    raise Stop


def test_weights_that_are_no_numbers_are_never_kept(tmp_path: Path) -> None:
    chosen = config(lr=float("inf"), log_every=100, valid_every=6)
    model = fresh(chosen)
    outcome = train(model, job(chosen, tmp_path / "run"))
    assert outcome.diverged and outcome.averaged == 0
    assert not list((tmp_path / "run").glob("best-*"))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_every_parameter_learns_also_with_self_conditioning(precision: str, tmp_path: Path) -> None:
    chosen = config(precision=precision, dropout=0.0)
    model = fresh(chosen)
    batch = BatchStream(prepare(chosen.data).train, 256, 1).at(0)
    draws = training_draws(1, 0, (*batch.target.shape, 16), 2000, CPU)
    with autocast(chosen, CPU):
        loss_of(chosen, model, batch, dataclasses.replace(draws, coin=True)).backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None or not bool(p.grad.any())]
    assert idle == []


SCRIPT = """
import sys, pathlib
sys.path.insert(0, {tests!r})
from test_training import config, fresh, job
from core.training import train
chosen = config(updates=24, valid_every=8)
train(fresh(chosen), job(chosen, pathlib.Path({folder!r})))
"""


def start(folder: Path) -> subprocess.Popen[bytes]:
    script = SCRIPT.format(tests=str(Path(__file__).parent), folder=str(folder))
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    return subprocess.Popen([sys.executable, "-c", script], env=environment)


@pytest.mark.slow
def test_killed_again_and_again_ends_with_the_same_weights(tmp_path: Path) -> None:
    folder, kills = tmp_path / "killed", 0
    for _ in range(2):
        process = start(folder)
        before = _stamp(folder)
        while process.poll() is None and _stamp(folder) - before < 3:
            time.sleep(0.01)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait()
    assert kills > 0, "training was over before it could be killed"
    process = start(folder)
    assert process.wait() == 0
    chosen = config(updates=24, valid_every=8)
    train(fresh(chosen), job(chosen, tmp_path / "whole"))
    state = run_folder.STATE
    assert same(checkpoints.load(tmp_path / "whole" / state)[0], checkpoints.load(folder / state)[0])


def _stamp(folder: Path) -> int:
    """Steps of the resumable checkpoint; 0 while there is none."""
    path = folder / run_folder.STATE
    return int(checkpoints.load(path)[1]["step"]) if path.exists() else 0


def test_same_seed_same_weights_and_another_seed_others(tmp_path: Path) -> None:
    one, two, other = (fresh(config(seed=seed)) for seed in (1, 1, 2))
    train(one, job(config(), tmp_path / "one"))
    train(two, job(config(), tmp_path / "two"))
    train(other, job(config(seed=2), tmp_path / "other"))
    assert same(weights(one), weights(two)) and not same(weights(one), weights(other))


def test_model_is_the_mean_of_the_best_checkpoints(tmp_path: Path) -> None:
    chosen = config(updates=12, valid_every=4, keep_best=2, averaging="mean")
    model = fresh(chosen)
    scores = iter([3.0, 1.0, 2.0])
    validated = dataclasses.replace(job(chosen, tmp_path / "run"), validate=lambda model: {"val/bleu": next(scores)})
    outcome = train(model, validated)
    kept = sorted(path.name for path in (tmp_path / "run").glob("best-*"))
    assert kept == ["best-000004.safetensors", "best-000012.safetensors"] and outcome.averaged == 2
    one, two = (checkpoints.load(tmp_path / "run" / name)[0] for name in kept)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, (one[name] + two[name]) / 2)


def test_divergence_is_an_outcome_and_not_a_crash(tmp_path: Path) -> None:
    chosen = config(lr=float("inf"), log_every=1, warmup=1)
    rows: list[dict[str, Any]] = []
    outcome = train(fresh(chosen), job(chosen, tmp_path / "run", rows.append))
    assert outcome.diverged and outcome.steps < chosen.training.updates
    assert len(rows) == outcome.steps


def test_training_learns(tmp_path: Path) -> None:
    chosen = config(updates=120, lr=4e-3, warmup=20, log_every=1, valid_every=120)
    rows: list[dict[str, Any]] = []
    train(fresh(chosen), job(chosen, tmp_path / "run", rows.append))
    losses = [row["train/nll"] for row in rows if "train/nll" in row]
    assert sum(losses[-10:]) < 0.85 * sum(losses[:10])


DAMAGES = {"cut": lambda c: c[:-9], "empty": lambda c: b"", "changed": lambda c: c[:-99] + b"?" + c[-98:]}


@pytest.mark.parametrize("which", ["state", "best", "best gone"])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_is_told_and_training_begins_anew(
    which: str, damage: Callable[[bytes], bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A best checkpoint has no moments of the optimizer: going on from there would end with other weights."""
    chosen = config(valid_every=4)
    train(fresh(chosen), job(chosen, tmp_path / "whole"))
    with pytest.raises(Stop):
        train(fresh(chosen), dataclasses.replace(job(chosen, tmp_path / "half"), validate=stop_once()))
    names = [run_folder.STATE] if which == "state" else [path.name for path in (tmp_path / "half").glob("best-*")]
    assert len(names) == 1
    path = tmp_path / "half" / names[0]
    path.unlink() if which.endswith("gone") else path.write_bytes(damage(path.read_bytes()))
    train(fresh(chosen), job(chosen, tmp_path / "half"))
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and str(path) in said and said.endswith("; this training begins anew\n")
    assert_same_end(tmp_path / "whole", tmp_path / "half")


def test_a_best_checkpoint_damaged_in_mid_training_is_told_and_the_next_start_begins_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = config(updates=12, valid_every=4, keep_best=3)
    train(fresh(chosen), job(chosen, tmp_path / "whole"))

    def damaging(model: Denoiser) -> dict[str, float]:
        for path in (tmp_path / "half").glob("best-*"):
            path.write_bytes(path.read_bytes()[:-4] + b"????")
        return score(model)

    said = r"best-00000\d\.safetensors: damaged .*; start the same command again, and this training begins anew"
    with pytest.raises(UserError, match=said):
        train(fresh(chosen), dataclasses.replace(job(chosen, tmp_path / "half"), validate=damaging))
    train(fresh(chosen), job(chosen, tmp_path / "half"))
    assert capsys.readouterr().err.count("this training begins anew") == 1
    assert_same_end(tmp_path / "whole", tmp_path / "half")


def test_unreduced_terms_keep_their_shapes() -> None:
    model, batch = fresh(config()), BatchStream(prepare(config().data).train, 256, 1).at(0)
    draws = training_draws(1, 0, (*batch.target.shape, 16), 2000, CPU)
    for loss in ("anchor", "rounding", "none"):
        chosen = config(token_loss=loss)
        objective = ObjectiveConfig(token_loss=loss, label_smoothing=0.1)
        parts = terms(model, predict(model, batch, draws), batch, objective)
        assert {len(parts.mse), len(parts.token), len(parts.nll)} == {batch.target_tokens}
        assert len(parts.length) == len(batch.source)
        made = method_for(chosen.method).loss(model, batch, draws)
        assert all(len(term.values) == int(term.count()) for term in made.terms.values())
        assert made.watched().keys() == {"mse", "token", "nll", "length"}
        assert loss_of(chosen, model, batch, draws).ndim == 0
    assert float(parts.token.abs().sum()) == 0.0


def test_weights_and_states_without_the_buffers_of_the_process_are_read(tmp_path: Path) -> None:
    """Those written before the process was part of the network lack them."""
    chosen = config()
    train(fresh(chosen), job(chosen, tmp_path / "whole"))
    with pytest.raises(Stop):
        train(fresh(chosen), dataclasses.replace(job(chosen, tmp_path / "half"), validate=stop_once()))
    for path in (tmp_path / "half").glob("*.safetensors"):
        tensors, facts = checkpoints.load(path)
        older = {name: value for name, value in tensors.items() if ".signal" not in name and ".noise" not in name}
        assert len(tensors) - len(older) == 2
        checkpoints.save(path, older, facts)
    train(fresh(chosen), job(chosen, tmp_path / "half"))
    assert_same_end(tmp_path / "whole", tmp_path / "half")


def test_a_training_is_over_after_its_seconds_and_is_not_taken_up_again(tmp_path: Path) -> None:
    chosen = config(training_seconds=1e-9)
    for _ in range(2):
        assert train(fresh(chosen), job(chosen, tmp_path)).steps == 1, "whatever the number of updates"


def test_seconds_that_outlast_a_linear_schedule_are_refused(tmp_path: Path) -> None:
    """Nothing would be learned in them. Another schedule goes on."""
    chosen = config(training_seconds=30, updates=3, warmup=1, lr_schedule="linear")
    for _ in range(2):
        with pytest.raises(UserError, match="linear is at 0 after updates = 3, before training_seconds = 30 are over"):
            train(fresh(chosen), job(chosen, tmp_path))
    assert _stamp(tmp_path) <= 3
    constant = with_values(chosen, {"lr_schedule": "constant"})
    half = dataclasses.replace(job(constant, tmp_path / "constant"), until=time.monotonic())
    for step in range(1, 6):
        with pytest.raises(TimeIsUp) as ended:
            train(fresh(constant), half)
        assert f"after {step} updates in " in ended.value.message and " of 30 s" in ended.value.message


def stop_once() -> Callable[[Denoiser], dict[str, float]]:
    """A validation that breaks off the second time."""
    validations = iter((score, stopping))
    return lambda model: next(validations)(model)


def test_a_training_whose_time_is_up_saves_and_goes_on_to_the_same_end(tmp_path: Path) -> None:
    chosen = config(checkpoint_seconds=1e9)
    train(fresh(chosen), job(chosen, tmp_path / "whole"))
    half = dataclasses.replace(job(chosen, tmp_path / "half"), until=time.monotonic())
    for step in (1, 2):
        with pytest.raises(TimeIsUp) as ended:
            train(fresh(chosen), half)
        assert ended.value.code == 75 and f"after {step} of {chosen.training.updates} updates" in ended.value.message
        assert _stamp(tmp_path / "half") == step
    train(fresh(chosen), job(chosen, tmp_path / "half"))
    assert_same_end(tmp_path / "whole", tmp_path / "half")
