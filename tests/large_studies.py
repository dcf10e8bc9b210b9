"""Studies as large as users have them: PYTHONPATH=. python tests/large_studies.py many|long FOLDER [COUNT]

`many`: COUNT (2,000) finished runs of the eight arms of modules. `long`: one seed of each, with COUNT (300,000) rows of
metrics.jsonl a run, the length of the paper's training logged at every step.
"""

import json
import sys
from pathlib import Path

import numpy as np
from fake_runs import Spec, metric_rows, modules_arms, write_study


def many_runs(root: Path, count: int = 2000) -> Path:
    """A study of `count` runs, in eight arms."""
    return write_study(root, "modules", seeds=range(1, count // 8 + 1))


def long_runs(root: Path, rows: int = 300_000) -> Path:
    """A study of eight runs with so many rows of metrics.jsonl each, with a spike in the loss of each run."""
    path = write_study(root, "modules", seeds=(1,))
    for arm in modules_arms():
        (folder,) = path.glob(f"{arm['name']}-s1-*")
        write_rows(folder / "metrics.jsonl", arm["toggles"], rows)
    return path


def write_rows(path: Path, toggles: Spec, rows: int) -> None:
    """So many training rows, with validation rows between them."""
    made = metric_rows(toggles, np.random.default_rng(0), 20 * 3000)
    with open(path, "w", encoding="utf-8") as file:
        step, spike = 0, rows // 3
        while step < rows:
            for row in made:
                step += "train/loss" in row
                loss = {"train/loss": 1e4} if step == spike and "train/loss" in row else {}
                file.write(json.dumps(row | {"train/step": step} | loss) + "\n")


if __name__ == "__main__":
    make = {"many": many_runs, "long": long_runs}[sys.argv[1]]
    print(make(Path(sys.argv[2]), *map(int, sys.argv[3:])))
