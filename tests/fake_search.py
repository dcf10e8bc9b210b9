"""A plausible search on disk for tests of its analysis: two studies of fake_runs and a search.json, made-up numbers."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from fake_runs import BANNER, edit, write_study

DIMENSIONS: dict[str, dict[str, Any]] = {
    "lr": {"low": 0.001, "high": 0.016, "log": True, "whole": False},
    "warmup": {"low": 25, "high": 400, "log": True, "whole": True},
    "dropout": {"low": 0.0, "high": 0.3, "log": False, "whole": False},
    "steps": {"levels": [5, 10, 20, 50]},
    "decoding_noise_factor": {"low": 0.25, "high": 4.0, "log": True, "whole": False},
}
DEFAULTS = {"lr": 0.004, "warmup": 100, "dropout": 0.0, "steps": 20, "decoding_noise_factor": 1.0}


def trial(arm: str, number: int, rng: np.random.Generator) -> dict[str, Any]:
    """One trial; every third is trained, the others only decode."""
    params = DEFAULTS | {"lr": float(rng.uniform(0.001, 0.016)), "steps": int(rng.choice([5, 10, 20, 50]))}
    value, trained = float(rng.uniform(20, 80)), number % 3 == 0
    state = "pruned" if number == 6 else "complete"
    return {
        "arm": arm, "number": number, "state": state, "params": DEFAULTS if number == 0 else params,
        "part": "training" if trained else "decoding", "kind": "proposed", "round": number // 3, "value": value,
        "values": {"101": value - 1, "102": value + 1}, "objectives": [value], "outcomes": ["ok", "ok"],
        "decode_ms": 0.2 * params["steps"] + float(rng.uniform(0, 1)), "seconds": 80.0 if trained else 4.0,
        "updates": 1400 if trained else 0, "runs": [],
    }  # fmt: skip


def beaten(one: dict[str, Any], others: list[dict[str, Any]]) -> bool:
    """Whether another trial scores more and is no slower."""
    return any(o["value"] > one["value"] and o["decode_ms"] <= one["decode_ms"] for o in others)


def write_search(root: Path, kind: str = "modules", rounds: int = 4, pareto: bool = True) -> Path:
    """root/<kind>, root/<kind>-tuned and root/<kind>-search; returns the last one."""
    default = write_study(root, kind)
    info = json.loads((default / "study.json").read_text())
    write_study(root / "other", kind, seeds=(1, 2, 3))
    (root / "other" / kind).rename(root / f"{kind}-tuned")
    edit(root / f"{kind}-tuned" / "study.json", study=f"{kind}-tuned")
    for scores in sorted((root / f"{kind}-tuned").glob("*+F1-*/scores.json")):
        seed = json.loads((scores.parent / "run.json").read_text())["seed"]
        edit(scores, bleu=json.loads(scores.read_text())["bleu"] + 9 + 0.2 * seed)
    rng = np.random.default_rng(1)
    trials = [trial(arm["name"], n, rng) for arm in info["arms"] for n in range(3 * rounds)]
    own = {arm["name"]: [t for t in trials if t["arm"] == arm["name"]] for arm in info["arms"]}
    complete = {arm: [t for t in each if t["state"] == "complete"] for arm, each in own.items()}
    best = {arm: max(each, key=lambda t: t["value"]) for arm, each in complete.items()}
    spent = {"trials": rounds, "decodings": 2 * rounds, "pruned": 1, "failed": 0, "updates": 5000, "seconds": 350.0}
    front = {arm: [t["number"] for t in each if not beaten(t, each)] for arm, each in complete.items()}
    shares = {"lr": 0.6, "warmup": 0.2, "dropout": 0.1, "steps": 0.06, "decoding_noise_factor": 0.04}
    content = {
        "format": 1, "study": kind, "name": f"{kind}-search-0", "command": "make search", "banner": BANNER,
        "control": info["control"], "default": kind, "tuned": f"{kind}-tuned", "metric": "bleu",
        "selection": "mean validation score", "seeds": [101, 102], "objectives": ["score"], "pruner": "median",
        "decodings": 2, "budget_s": 1800.0, "trials_per_arm": None, "spent_s": 1700.0, "finished": True,
        "rounds": rounds, "dimensions": DIMENSIONS, "trained": ["lr", "warmup", "dropout"], "defaults": DEFAULTS,
        "arms": info["arms"], "trials": trials, "spent": {arm["name"]: spent for arm in info["arms"]},
        "best": {arm: t | {"options": {}, "default_value": own[arm][0]["value"]} for arm, t in best.items()},
        "pareto": front if pareto else None,
        "importance": {"evaluator": "fANOVA", "arms": dict.fromkeys(own, shares), "all": {"arm": 0.5, "lr": 0.5}},
    }  # fmt: skip
    (root / f"{kind}-search").mkdir()
    (root / f"{kind}-search" / "search.json").write_text(json.dumps(content))
    return root / f"{kind}-search"


if __name__ == "__main__":
    print(write_search(Path(sys.argv[1])))
