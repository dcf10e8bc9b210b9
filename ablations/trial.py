"""A run of a search: trained like any other, but scored on the validation set alone, and stopped early if told to.

What it scores is decoded with the run's own decoding from the whole validation set. The test set is not looked at, nor
are probes and samples made: the search chooses among runs by these scores, and whoever chose by the test set could not
report it any more. A run that differs from a trained one in decoding alone takes over its training.
"""

import time
from pathlib import Path
from typing import Any

import torch

from ablations import records
from ablations.arm import Place, new_model, settled, trained
from ablations.evaluate import Evaluator
from ablations.materials import device_for, prepare
from ablations.pruning import Pruned, Stop, Watched, never
from core import scores
from core.config import RunConfig
from core.difformer import Difformer
from core.machine import settle
from core.training import Outcome

METRICS = ("bleu", "chrf", "rouge1", "rouge2", "rougeL")
SPLIT = "valid"


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
    settled(model, outcome)
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
