"""What W&B shows of a run that is through: scores, histograms, curves and texts, read from its folder."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import wandb

from ablations import records
from core.run_folder import PROBES, SCORES, read

SHOWN = 50
"""Sample translations in the table."""
BINS = 64
BANDS = ("rare", "middle", "frequent")
CURVES = ("mse", "nll", "accuracy", "nearest", "nearest_F1")


def show(run: Any, folder: Path) -> None:
    """Log what is there of scores.json and probes.npz, and what the run cost."""
    cost = records.read(folder).get("cost") or {}
    run.summary.update({f"cost/{name}": value for name, value in cost.items() if value is not None})
    if (folder / SCORES).exists():
        scores = read(folder / SCORES)
        run.summary.update({f"test/{name}": value for name, value in scores.items() if not isinstance(value, list)})
        for row in scores.get("by_steps", []):
            run.log({f"by_steps/{name}": value for name, value in row.items() if value is not None})
    if (folder / PROBES).exists():
        probes = read(folder / PROBES)
        for row in per_step(probes):
            run.log(row)
        run.log(histograms(probes))


def per_step(probes: Mapping[str, np.ndarray]) -> Iterator[dict[str, float]]:
    """Rows of the curves against t: {'per_step/t', 'per_step/mse', ...}; not a number is left out."""
    if "t" not in probes:
        return
    curves = {name: probes[name] for name in CURVES if name in probes}
    for i, t in enumerate(probes["t"].tolist()):
        row = {f"per_step/{name}": float(curve[i]) for name, curve in curves.items() if np.isfinite(curve[i])}
        yield {"per_step/t": t, **row}


def histograms(probes: Mapping[str, np.ndarray]) -> dict[str, wandb.Histogram]:
    """Distributions of the embedding norm: the types of training targets, and thirds of them by their frequency there.

    All types where a method's probes do not say how often each occurs.
    """
    if "norm" not in probes:
        return {}
    norm = probes["norm"].astype(float)  # with a norm all are alike but for rounding: too close for 64 bins of float32
    frequency = probes.get("frequency", np.zeros(0))
    if len(frequency) == len(norm):
        norm, frequency = norm[frequency > 0], frequency[frequency > 0]
    parts = {"all": norm}
    if len(frequency) == len(norm) >= len(BANDS):
        order = np.argsort(frequency, kind="stable")
        parts |= dict(zip(BANDS, np.array_split(norm[order], len(BANDS)), strict=True))
    finite = {name: part[np.isfinite(part)] for name, part in parts.items()}
    return {f"norms/{k}": wandb.Histogram(np_histogram=np.histogram(v, BINS)) for k, v in finite.items() if len(v)}


def texts(rows: list[dict[str, Any]]) -> dict[str, wandb.Table]:
    """Tables of sample translations, and of how the first few came about step by step.

    Online the client asks the server before it logs them, and waits for it.
    """
    columns: list[str | int] = ["id", "source", "reference", "hypothesis", "sentence_bleu"]
    data = [[row.get(str(name)) for name in columns] for row in rows]
    steps = [[r.get("id"), s["t"], s["text"]] for r in rows for s in r.get("trajectory", [])]
    tables = {"samples": wandb.Table(columns=columns, data=data)} if data else {}
    return tables | ({"trajectories": wandb.Table(columns=["id", "t", "text"], data=steps)} if steps else {})
