"""A run of a search: trained like any other, but scored on the validation set alone, and stopped early if told to.

What it scores is decoded with the run's own decoding from the whole validation set. The test set is not looked at, nor
are probes and samples made: the search chooses among runs by these scores, and whoever chose by the test set could not
report it any more. A run that differs from a trained one in decoding alone takes over its training.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from ablations import records
from ablations.arm import Place, new_model, trained
from ablations.evaluate import Evaluator
from ablations.materials import device_for, prepare
from core import scores
from core.config import RunConfig
from core.difformer import Difformer
from core.machine import settle
from core.training import Outcome

Stop = Callable[[int, float], bool]
"""stop(step, validation BLEU) -> whether to end the training here."""

METRICS = ("bleu", "chrf", "rouge1", "rouge2", "rougeL")
SPLIT = "valid"


class Pruned(Exception):
    """Training was stopped because it promises too little."""

    def __init__(self, step: int, bleu: float) -> None:
        super().__init__(f"pruned after {step} updates at BLEU {bleu:.2f}")
        self.step, self.bleu = step, bleu


class Watched:
    """A tracker that passes everything on, and raises Pruned after a validation if `stop` says so."""

    def __init__(self, tracker: records.Tracker, stop: Stop) -> None:
        self.tracker, self.stop = tracker, stop

    def log(self, row: Mapping[str, Any]) -> None:
        """One row of metrics.jsonl, which has it already."""
        self.tracker.log(row)
        if row.get("val/bleu") is not None and self.stop(row["train/step"], row["val/bleu"]):
            raise Pruned(row["train/step"], row["val/bleu"])

    def results(self, folder: Path) -> None:
        """Nothing of a search run is shown but its rows."""

    def finish(self, state: str) -> None:
        """Whoever made the tracker ends it."""


def never(step: int, bleu: float) -> bool:
    """Trains to the end."""
    return False


def execute(
    config: RunConfig, folder: Path, tracker: records.Tracker, place: Place, stop: Stop = never
) -> dict[str, Any]:
    """Run what is missing of a claimed run folder and finish it; returns its scores on the validation set.

    Raises UserError for what the user can mend. The caller claims the folder before and marks failures.
    """
    device = device_for(place.device)
    settle(place.threads)
    wall, cpu = time.monotonic(), time.process_time()
    materials = prepare(config.data)
    model = new_model(config, materials, device)
    records.update(folder, **records.provenance(device), data=materials.facts())
    evaluator = Evaluator(materials, config, device)
    try:
        outcome = trained(model, config, folder, evaluator, Watched(tracker, stop))
        found, cost = assessed(model, evaluator, outcome)
        ended = "diverged" if outcome.diverged else "ok"
    except Pruned as pruned:
        found = {"split": SPLIT, "val/bleu": pruned.bleu, "pruned_at": pruned.step}
        cost, ended = {"updates": pruned.step}, "pruned"
    borrowed = bool(records.read(folder).get("trained_by"))
    cost |= {"updates": 0} if borrowed else {}
    cost |= {"wall_s": time.monotonic() - wall, "cpu_s": time.process_time() - cpu}
    records.write_json(folder / "scores.json", found)
    if borrowed or ended == "pruned":
        records.lighten(folder)
    records.update(folder, cost=cost, outcome=ended)
    records.finish(folder)
    return found


def assessed(model: Difformer, evaluator: Evaluator, outcome: Outcome) -> tuple[dict[str, Any], dict[str, Any]]:
    """Scores on the whole validation set with the run's own decoding, as val/<metric>, and what it cost.

    A diverged run is decoded like any other: what it scores is its result.
    """
    model.eval()
    if outcome.diverged:
        for parameter in model.parameters():
            parameter.data.nan_to_num_(0.0, 0.0, 0.0)
    valid = evaluator.materials.valid
    evaluator.batched(valid)
    cpu = time.process_time()
    with torch.no_grad():
        texts = evaluator.texts(model, valid, evaluator.config.decoding)
    spent = (time.process_time() - cpu) / max(len(texts), 1)
    found = scores.score(texts, valid.references)
    values = {f"val/{name}" if name in METRICS else name: value for name, value in found.items()}
    cost = {"updates": outcome.steps, "train_s": outcome.seconds, "decode_ms": 1000 * spent}
    return {"split": SPLIT, **values}, cost
