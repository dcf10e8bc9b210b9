"""A search of stand-ins for tests: its runs take no time and score what a formula says.

As a script: `work` is a worker, `search RUNS` a whole search (RUNS/search.json says which), so that tests can kill it.
"""

import contextlib
import json
import math
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from ablations import presets, records, studies
from ablations.metrics_log import MetricsLog, latest
from core.config import RunConfig, digest, flat, with_values
from core.errors import UserError, command
from core.run_folder import write_json
from core.signals import end_on_sigterm
from sweeps import worker
from sweeps.running.reconcile import Attempts
from sweeps.running.storage import open_storage
from sweeps.tuning.points import spaces_for
from sweeps.tuning.rounds import Search, advance, opened
from sweeps.tuning.stop import Stop

ME = (sys.executable, str(Path(__file__)))
CONTROL, OTHER = "anchor+norm+F4", "anchor+norm+F1"
UPDATES = 8


def formula(config: RunConfig, best: float) -> float:
    """A score with its peak at a learning rate (log scale), a small effect of dropout, K and the seed."""
    lr = math.log(config.training.lr / best)
    options = flat(config)
    other = options["dropout"] + abs(options["decoding_noise_factor"] - 1)
    return 60 * math.exp(-0.5 * lr * lr) - 5 * other + (config.seed % 7) * 0.1


def behaviour_of(folder: Path) -> dict[str, Any]:
    """What behaviour.json in the folder of all runs says, by arm."""
    return dict(json.loads((folder.parents[1] / "behaviour.json").read_text()))


def fake(config: RunConfig, folder: Path, tracker: records.Tracker) -> None:
    """Log UPDATES validations, unless the search stops it, and score by the formula; or do what the arm is told to."""
    record, told = records.read(folder), behaviour_of(folder)
    what, facts = told.get(record["arm"], "quick"), record["search"]
    with open(folder / "executions", "a") as file:
        file.write("x")
    if what == "fail":
        raise RuntimeError("no luck")
    if what == "refuse":
        raise UserError("your text is unusable")
    if what == "die once":
        with contextlib.suppress(FileExistsError), open(folder.parents[1] / "died", "x"):
            os.kill(os.getpid(), signal.SIGKILL)
    value = formula(config, 0.001 if record["arm"] == CONTROL else 0.004)
    cost: dict[str, Any] = {"wall_s": told.get("seconds", 1.0), "updates": UPDATES, "decode_ms": 2.0}
    scores, outcome = {"val/bleu": value}, "ok"
    if facts["part"] == "training":
        pruned = train(folder, value, tracker, stop(folder, facts), 0.3 if what == "slow" else 0.0)
        if pruned is not None:
            cost["updates"] = pruned["train/step"]
            scores, outcome = {"val/bleu": pruned["val/bleu"], "pruned_at": pruned["train/step"]}, "pruned"
    else:
        cost["updates"] = 0
    (folder / "weights.safetensors").write_text("stand-in")
    write_json(folder / "scores.json", scores)
    records.update(folder, cost=cost, outcome=outcome)
    records.finish(folder)


def train(folder: Path, value: float, tracker: records.Tracker, stop: Stop, pause: float) -> dict[str, Any] | None:
    """Rows of a training that comes to its value evenly; goes on with those that are there. The row that stopped it."""
    done = latest(folder / "metrics.jsonl").get("train/step") or 0
    with MetricsLog(folder / "metrics.jsonl", done, tracker.log) as log:
        for step in range(done + 1, UPDATES + 1):
            time.sleep(pause)
            row = {"train/step": step, "val/bleu": value * step / UPDATES}
            log.log(row)
            if stop(step, row):
                return row
    return None


def stop(folder: Path, facts: dict[str, Any]) -> Stop:
    """What a worker asks after each validation."""
    where = json.loads((folder.parents[1] / "search.json").read_text())["storage"]
    return Stop(open_storage(where), facts)


def search_of(runs: Path, arms: tuple[str, ...] = (CONTROL, OTHER), **changes: Any) -> Search:
    """A search of stand-ins; `behaviour`: arm -> what it does."""
    runs.mkdir(parents=True, exist_ok=True)
    told = changes.pop("behaviour", None)
    if told is not None or not (runs / "behaviour.json").exists():
        (runs / "behaviour.json").write_text(json.dumps(told or {}))
    asked = studies.get("modules")
    config = with_values(presets.get("smoke").config, {"updates": UPDATES})
    options: dict[str, Any] = {"seeds": (101, 102), "trials": 7, "decodings": 1, "workers": 2} | changes
    options.setdefault("storage", str(runs / "m-search" / "optuna.journal"))
    simple = {k: v for k, v in options.items() if k != "facts"} | {"arms": arms}
    (runs / "search.json").write_text(json.dumps(simple))
    facts: dict[str, Any] = {
        "study": "m",
        "settings": {"pruner": options.get("pruner", "median")},
        "name": "m",
        "command": "",
    }
    facts |= {"default": "m", "tuned": "m-tuned", "banner": None}
    return Search(
        title="m-search",
        study=asked,
        arms=tuple(arm for arm in asked.arms if arm.name in arms),
        config=config,
        spaces=spaces_for(asked, config),
        runs=runs,
        name="m",
        identify=lambda config: digest(flat(config)),
        facts=facts,
        **options,
    )


def serially(search: Search) -> None:
    """The whole search in this process, one run after another, without workers."""
    search.folder.mkdir(parents=True, exist_ok=True)
    attempts, spent = Attempts(), 0.0
    while jobs := rounds_on(search, attempts, spent):
        job = jobs[0]
        folder = job.create(search.runs)
        assert records.claim(folder)
        try:
            fake(with_values(RunConfig(), job.config), folder, records.NullTracker())
            spent += records.read(folder)["cost"]["wall_s"] / search.workers
        except Exception as error:
            records.fail(folder, str(error), refused=isinstance(error, UserError))
        finally:
            records.release(folder)


def rounds_on(search: Search, attempts: Attempts, spent: float) -> list[Any]:
    """What is to be done now; a round is opened if nothing is."""
    from sweeps.tuning.budget import affordable  # a worker starts faster without

    jobs = advance(search, opened(search), attempts.again)
    if not jobs and affordable(search, opened(search), spent):
        return advance(search, opened(search) + 1, attempts.again)
    return jobs


def search_here() -> int:
    """A whole search, as RUNS/search.json describes it."""
    from sweeps.tuning.loop import run_search

    runs = Path(sys.argv[2])
    options = json.loads((runs / "search.json").read_text())
    options |= {name: tuple(options[name]) for name in ("seeds", "arms", "objectives") if name in options}
    end_on_sigterm()
    run_search(search_of(runs, **options), (*ME, "work"), 0.1)
    return 0


if __name__ == "__main__":
    if sys.argv[1] == "work":
        del sys.argv[1]
        worker.SEARCH_IDLE_SECONDS = 0.05
        sys.exit(command(lambda: worker.main(fake))())
    sys.exit(command(search_here)())
