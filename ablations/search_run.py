"""A run of a search: trained like any other, but scored on the validation set alone, and stopped early if told to.

What it scores is decoded with the run's own decoding from the whole validation set. The test set is not looked at, nor
are probes and samples made: the search chooses among runs by these scores, and whoever chose by the test set could not
report it any more. A run that differs from a trained one in decoding alone takes over its training.
"""

import time
from pathlib import Path
from typing import Any

from ablations import records
from ablations.execute import Execution
from ablations.place import Place
from core import run_folder, scores
from core.config import RunConfig
from core.training.job import Outcome, Stop, never

METRICS = ("bleu", "chrf", "rouge1", "rouge2", "rougeL")
SPLIT = "valid"


def execute(
    config: RunConfig, folder: Path, tracker: records.Tracker, place: Place, stop: Stop = never
) -> dict[str, Any]:
    """Run what is missing of a claimed run folder and finish it; returns its scores on the validation set.

    Raises UserError for what the user can mend. The caller claims the folder before and marks failures.
    """
    wall, cpu = time.monotonic(), time.process_time()
    run = Execution.begin(config, folder, tracker, place)
    outcome = run.train(stop)
    if outcome.stopped is None:
        found, cost = score_validation(run, outcome)
        ended = "diverged" if outcome.diverged else "ok"
    else:
        score = f"val/{config.training.metric}"
        found = {"split": SPLIT, score: outcome.stopped[score], "pruned_at": outcome.steps}
        cost, ended = {"updates": outcome.steps}, "pruned"
    taken_over = bool(records.read(folder).get("trained_by"))
    cost |= {"updates": 0} if taken_over else {}
    cost |= {"wall_s": time.monotonic() - wall, "cpu_s": time.process_time() - cpu}
    run_folder.write_json(folder / run_folder.SCORES, found)
    if taken_over or ended == "pruned":
        records.lighten(folder)
    records.update(folder, cost=cost, outcome=ended)
    records.finish(folder)
    return found


def score_validation(run: Execution, outcome: Outcome) -> tuple[dict[str, Any], dict[str, Any]]:
    """Scores on the whole validation set with the run's own decoding, as val/<metric>, and what it cost.

    A diverged run is decoded like any other: what it scores is its result.
    """
    valid = run.materials.valid
    run.evaluator.batched(valid)
    cpu = time.process_time()
    texts = run.evaluator.texts(run.network, valid, run.evaluator.decoding)
    spent = (time.process_time() - cpu) / max(len(texts), 1)
    found = scores.score(texts, valid.references, run.evaluator.bleu_tokenizer)
    judged = {*METRICS, run.config.training.metric}
    values = {f"val/{name}" if name in judged else name: value for name, value in found.items()}
    cost = {"updates": outcome.steps, "train_s": outcome.seconds, "decode_ms": 1000 * spent}
    return {"split": SPLIT, **values, **outcome.validated}, cost
