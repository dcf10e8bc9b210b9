"""What becomes of the kept checkpoints: their mean where it is validated to be at least as good, and both numbers."""

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from test_training import assert_same_end, config, fresh, job, same, score, weights

from ablations import records
from ablations.execute import execute, folder_of, single_arm
from ablations.place import Place
from core import checkpoints, run_folder
from core.training import train
from core.training.job import Job
from core.training.saved import best_path


def validating(scores: list[float], asked: list[bool]) -> Callable[[Any], dict[str, float]]:
    """A validation that gives these scores in turn, and notes whether the network was in evaluation mode."""
    given: Iterator[float] = iter(scores)

    def validate(network: Any) -> dict[str, float]:
        asked.append(not network.training)
        return {"val/bleu": next(given)}

    return validate


def trained(folder: Path, scores: list[float], **values: Any) -> tuple[Any, Any]:
    """A network after three validations, and what came out; scores: of these, and of the mean."""
    chosen, asked = config(updates=12, valid_every=4, keep_best=2, **values), list[bool]()
    network = fresh(chosen)
    outcome = train(network, dataclasses.replace(job(chosen, folder), validate=validating(scores, asked)))
    assert asked == [True] * len(scores), "each in evaluation mode, and no more than these"
    return network, outcome


def checkpoint(folder: Path, step: int) -> dict[str, torch.Tensor]:
    return checkpoints.load(best_path(folder, step))[0]


@pytest.mark.parametrize(("mean", "averaged"), [(1.0, 1), (2.9, 1), (3.0, 2), (3.5, 2), (float("nan"), 1)])
def test_the_mean_is_taken_only_if_it_is_at_least_as_good(mean: float, averaged: int, tmp_path: Path) -> None:
    network, outcome = trained(tmp_path, [3.0, 1.0, 2.0, mean])
    assert outcome.averaged == averaged and outcome.validated["val_best"] == 3.0
    best, other = checkpoint(tmp_path, 4), checkpoint(tmp_path, 12)
    for name, value in network.named_parameters():
        wanted = best[name] if averaged == 1 else (best[name] + other[name]) / 2
        torch.testing.assert_close(value.detach(), wanted)
    left, facts = checkpoints.load(tmp_path / run_folder.WEIGHTS)
    assert same(left, weights(network)) and (facts["averaged"], facts["val_best"]) == (averaged, 3.0)


def test_the_released_mean_and_the_best_alone_are_not_validated(tmp_path: Path) -> None:
    """As released whatever the mean is worth; or the best one. With one checkpoint there is nothing to compare."""
    mean, outcome = trained(tmp_path / "mean", [3.0, 1.0, 2.0], averaging="mean")
    assert outcome.averaged == 2 and outcome.validated == {"val_best": 3.0}
    best, outcome = trained(tmp_path / "best", [3.0, 1.0, 2.0], averaging="best")
    assert outcome.averaged == 1 and same(weights(best), checkpoint(tmp_path / "best", 4))
    assert not same(weights(best), weights(mean))
    chosen = config(updates=12, valid_every=4, keep_best=1)
    alone = dataclasses.replace(job(chosen, tmp_path / "one"), validate=validating([3.0, 1.0, 2.0], []))
    assert train(fresh(chosen), alone).averaged == 1


class Killed(Exception):
    pass


def stopped_at_the_mean(chosen: Any, folder: Path) -> None:
    """A training that breaks off as it validates the mean."""
    left = iter([True] * (chosen.training.updates // chosen.training.valid_every))

    def validate(network: Any) -> dict[str, float]:
        if not next(left, False):
            raise Killed
        return score(network)

    with pytest.raises(Killed):
        train(fresh(chosen), dataclasses.replace(job(chosen, folder), validate=validate))


@pytest.mark.parametrize("saved", [0.0, 1e9], ids=["saves often", "saves at validations"])
def test_killed_between_the_last_validation_and_that_of_the_mean_it_ends_the_same(saved: float, tmp_path: Path) -> None:
    chosen = config(updates=12, valid_every=3, keep_best=3, checkpoint_seconds=saved)
    whole = train(fresh(chosen), job(chosen, tmp_path / "whole"))
    stopped_at_the_mean(chosen, tmp_path / "half")
    assert not (tmp_path / "half" / run_folder.WEIGHTS).exists()
    rows: list[dict[str, Any]] = []
    resumed = train(fresh(chosen), job(chosen, tmp_path / "half", rows.append))
    assert rows == [], "nothing is trained, and nothing logged twice"
    assert (resumed.averaged, resumed.validated) == (whole.averaged, whole.validated)
    assert {"val_best", "val_mean"} == whole.validated.keys()
    assert_same_end(tmp_path / "whole", tmp_path / "half")
    again = train(fresh(chosen), job(chosen, tmp_path / "half"))
    assert again.validated == whole.validated
    assert_same_end(tmp_path / "whole", tmp_path / "half")


def test_another_metric_chooses_other_checkpoints(tmp_path: Path) -> None:
    chosen = config(updates=12, valid_every=4, keep_best=1, metric="chrf")
    values = iter([(9.0, 1.0), (1.0, 9.0), (5.0, 5.0)])

    def validate(network: Any) -> dict[str, float]:
        bleu, chrf = next(values)
        return {"val/bleu": bleu, "val/chrf": chrf}

    made: Job = dataclasses.replace(job(chosen, tmp_path), validate=validate)
    assert train(fresh(chosen), made).validated == {"val_best": 9.0}
    assert [path.name for path in tmp_path.glob("best-*")] == [run_folder.BEST.format(step=8)]


def test_both_numbers_stand_in_the_scores_of_a_run(tmp_path: Path) -> None:
    """And the validation of the mean is that of the model that a run leaves, if it is the mean."""
    chosen = config(keep_best=2)
    folder = folder_of(chosen, single_arm(chosen), "single", tmp_path)
    assert records.claim(folder)
    execute(chosen, folder, records.NullTracker(), Place())
    records.release(folder)
    found = json.loads((folder / run_folder.SCORES).read_text())
    validated = [row["val/bleu"] for row in run_folder.read(folder / run_folder.METRICS) if "val/bleu" in row]
    assert found["val_best"] == max(validated) and "val_mean" in found
    assert found["checkpoints_averaged"] == (2 if found["val_mean"] >= found["val_best"] else 1)
