"""Learning-rate schedules, and the moving average of the weights that validation, checkpoints and decoding use."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_training import Stop, assert_same_end, config, fresh, job, score, weights
from torch import nn

from core import checkpoints
from core.checks import check
from core.config import RunConfig, flat, with_values
from core.errors import UserError
from core.methods import method_for
from core.run_folder import STATE
from core.sections import TrainingConfig
from core.training import train
from core.training.optimizer import MovingAverage, learning_rate, optimizer_for
from core.training.step import Step


@given(st.integers(1, 400), st.integers(0, 300))
def test_the_linear_schedule_falls_by_equal_parts_to_0_after_the_last_update(updates: int, warmup: int) -> None:
    schedule = TrainingConfig(lr=2.0, warmup=warmup, updates=updates, lr_schedule="linear", warmup_init_lr=0.0)
    rates = [learning_rate(schedule, step) for step in range(1, updates + 2)]
    peak = max(warmup, 1)
    if peak <= updates:
        parts = [a - b for a, b in zip(rates[peak - 1 :], rates[peak:], strict=False)]
        assert parts == pytest.approx([2.0 / (updates + 1 - peak)] * len(parts))
        assert max(rates) == rates[peak - 1] == pytest.approx(2.0)
        assert rates[-1] == 0.0 and rates[-2] > 0.0


def test_without_a_warm_up_it_is_the_released_annealing() -> None:
    """DiffuSeq: lr * (1 - updates done / all)."""
    schedule = TrainingConfig(lr=1e-4, warmup=0, updates=50, lr_schedule="linear")
    rates = [learning_rate(schedule, step) for step in range(1, 51)]
    assert rates == pytest.approx([1e-4 * (1 - done / 50) for done in range(50)])


def test_the_constant_schedule_stays_after_its_warm_up() -> None:
    schedule = TrainingConfig(lr=1e-3, warmup=10, warmup_init_lr=0.0, lr_schedule="constant")
    assert [learning_rate(schedule, step) for step in (5, 10, 500)] == [5e-4, 1e-3, 1e-3]


@given(st.integers(1, 30), st.sampled_from([0.0, 0.5, 0.9, 0.999]))
def test_the_average_is_the_sum_over_all_weights_that_were(updates: int, decay: float) -> None:
    network = nn.Linear(3, 2).double()
    average, seen = MovingAverage(network, decay), [network.weight.detach().clone()]
    for _ in range(updates):
        with torch.no_grad():
            network.weight += torch.randn(2, 3, dtype=torch.float64)
        seen.append(network.weight.detach().clone())
        average.update()
    parts = [decay**updates] + [(1 - decay) * decay ** (updates - i) for i in range(1, updates + 1)]
    wanted = torch.stack([part * value for part, value in zip(parts, seen, strict=True)]).sum(0)
    torch.testing.assert_close(average.mean["weight"], wanted)


def test_the_weights_come_back_as_they_were() -> None:
    network = nn.Linear(3, 2)
    average, before = MovingAverage(network, 0.5), network.weight.detach().clone()
    average.mean["weight"].zero_()
    place = network.weight.data_ptr()
    with pytest.raises(ZeroDivisionError), average.instead():
        assert not network.weight.any() and network.weight.data_ptr() == place, "a captured update reads this place"
        _ = 1 / 0
    assert torch.equal(network.weight, before) and network.weight.data_ptr() == place


def averaged(chosen: RunConfig, updates: int) -> dict[str, torch.Tensor]:
    """The average after so many updates, made step by step."""
    network = fresh(chosen).train()
    step = Step(network, method_for(chosen.method), optimizer_for(network, chosen.training), chosen)
    average, stream = MovingAverage(network, chosen.training.ema or 0.0), job(chosen, Path(".")).stream
    for index in range(updates):
        step(stream.at(index), index)
        average.update()
    return average.mean


def test_validation_and_checkpoints_have_the_average_and_training_goes_on_without_it(tmp_path: Path) -> None:
    chosen = config(ema=0.8, keep_best=1, averaging="best")
    plain = with_values(chosen, {"ema": None})
    one, other, validated = fresh(chosen), fresh(plain), list[dict[str, Any]]()

    def log(row: dict[str, Any]) -> None:
        validated.extend([row] if "val/bleu" in row else [])

    train(one, job(chosen, tmp_path / "ema", log))
    train(other, job(plain, tmp_path / "plain"))
    wanted = [averaged(chosen, step) for step in (6, 12)]
    network = fresh(chosen)
    scores = []
    for mean in wanted:
        MovingAverage(network, 0.8).put(mean)
        scores.append(score(network)["val/bleu"])
    assert [row["val/bleu"] for row in validated] == pytest.approx(scores)
    best = wanted[scores.index(max(scores))]
    for name, weight in one.named_parameters():
        torch.testing.assert_close(weight.detach(), best[name])
    state, without = (checkpoints.load(tmp_path / name / STATE)[0] for name in ("ema", "plain"))
    for name, value in without.items():
        assert torch.equal(state[name], value), "the updates are those without it"
    assert {name.partition("/")[0] for name in state} == {"model", "optimizer", "average"}
    assert {name.partition("/")[0] for name in without} == {"model", "optimizer"}


@pytest.mark.parametrize("stop", [1, 6, 11])
def test_it_resumes_bit_for_bit(stop: int, tmp_path: Path) -> None:
    chosen = config(log_every=1, ema=0.9, lr_schedule="linear")
    train(fresh(chosen), job(chosen, tmp_path / "whole"))

    def stopping(row: dict[str, Any]) -> None:
        if row["train/step"] == stop and "train/loss" in row:
            raise Stop

    with pytest.raises(Stop):
        train(fresh(chosen), job(chosen, tmp_path / "half", stopping))
    train(fresh(chosen), job(chosen, tmp_path / "half"))
    assert_same_end(tmp_path / "whole", tmp_path / "half")


def test_a_training_that_is_stopped_leaves_the_average(tmp_path: Path) -> None:
    chosen = config(ema=0.5)
    network = fresh(chosen)
    outcome = train(network, dataclasses.replace(job(chosen, tmp_path), stop=lambda step, scores: True))
    assert outcome.stopped == score(network)
    wanted = averaged(chosen, outcome.steps)
    assert all(torch.equal(value, wanted[name]) for name, value in weights(network).items() if name in wanted)


def test_runs_without_them_are_what_they_were() -> None:
    assert not {"ema", "lr_schedule"} & flat(RunConfig()).keys()
    assert flat(with_values(RunConfig(), {"ema": 0.99}))["ema"] == 0.99


@pytest.mark.parametrize("decay", [1.0, -0.1, 1.5])
def test_a_decay_that_is_none_is_refused(decay: float) -> None:
    with pytest.raises(UserError, match=r"option ema: .* must be at least 0 and below 1"):
        check(with_values(RunConfig(), {"ema": decay}))
