"""metrics.jsonl as a frame: read fast, one row per training step, and thinned where a training logged very often.

Of more than WHOLE steps those of EVEN values of each metric are kept, evenly spaced and the same for all runs, so that
seeds can be averaged, and those at which some run has the lowest or the highest value of a metric, which are marked in
the column EXTREME: a mean over steps leaves them out.
"""

import csv
import io
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.tall import under_heads
from core import reading
from core.run_folder import METRICS

STEP = "train/step"
EXTREME = "extreme"
WHOLE, EVEN = 2000, 400
MOST_COLUMNS = 200
LATEST = 2**53
"""Steps are below it, so that a float holds each of them."""
BLOCK = 8 << 20
"""Bytes that are parsed at a time."""
_AS_CSV = bytes.maketrans(b":", b",")


def read_metrics(path: Path, heads: Mapping[str, dict[str, Any]]) -> tuple[pd.DataFrame, list[str]]:
    """The rows of the runs of a study's folder with their heads (run, arm, ...), and a note for each damaged file."""
    frames, notes = dict[str, pd.DataFrame](), list[str]()
    for name in heads:
        frame, complaint = read_rows(path / name / METRICS)
        notes += [f"{name}: {METRICS} {complaint}, left out"] if complaint else []
        if frame is not None and len(frame):
            frames[name] = frame
    if not frames:
        return pd.DataFrame(columns=["run", "arm", "label", "seed", STEP, EXTREME]), notes
    kept, extremes = chosen_steps(list(frames.values()))
    for name, frame in frames.items():
        thinned = frame if kept is None else frame[frame[STEP].isin(kept | extremes)]
        frames[name] = thinned
    rows = under_heads([heads[name] for name in frames], [_columns(frame) for frame in frames.values()])
    return rows.assign(**{EXTREME: False if kept is None else ~rows[STEP].isin(kept)}), notes


def _columns(frame: pd.DataFrame) -> dict[str, np.ndarray]:
    return {str(name): frame[name].to_numpy() for name in frame}


def chosen_steps(frames: list[pd.DataFrame]) -> tuple[set[int] | None, set[int]]:
    """The steps that are kept of each run, evenly spaced, and those of extremes; None if all are."""
    if max(map(len, frames)) <= WHOLE:
        return None, set()
    logged = dict[tuple[int, int, int], np.ndarray]()  # how a metric is logged: training at other steps than validation
    for frame in frames:
        for name in frame:
            steps = frame.loc[frame[name].notna(), STEP].to_numpy()
            if len(steps):
                logged[len(steps), int(steps[0]), int(steps[-1])] = steps
    even = {int(step) for steps in logged.values() for step in spread(steps)}
    extremes = set[int]()
    for frame in frames:
        values = frame.drop(columns=STEP).dropna(axis=1, how="all")
        rows = pd.concat([values.idxmin(), values.idxmax()])
        extremes |= set(frame.loc[rows, STEP])
    return even, extremes


def spread(steps: np.ndarray) -> np.ndarray:
    """EVEN of the steps, evenly spaced, the first and the last among them; all if there are no more."""
    return steps if len(steps) <= EVEN else steps[np.linspace(0, len(steps) - 1, EVEN).round().astype(int)]


def read_rows(path: Path) -> tuple[pd.DataFrame | None, str | None]:
    """All rows of one file by rising step, numbers alone, and what is wrong with it; None if there is none.

    Training and validation rows of a step are joined; of a step written twice (a resumed run) the last value counts.
    """
    try:
        if path.stat().st_size < BLOCK // 8:
            return _joined(*_numbers(reading.rows(path)))
        parts = [_table(block) for block in reading.blocks(path, BLOCK)]
    except FileNotFoundError:
        return None, None
    except (OSError, reading.Unreadable) as error:
        return None, f"is unreadable: {getattr(error, 'strerror', None) or error}"
    frame = pd.concat([part for part, _ in parts], ignore_index=True) if parts else pd.DataFrame()
    broken = sum(count for _, count in parts)
    if STEP not in frame:
        return None, _said(broken)
    frame = frame[np.isfinite(frame[STEP]) & (frame[STEP].abs() < LATEST)]
    return frame.groupby(STEP, as_index=False).last().astype({STEP: int}), _said(broken)


def _said(broken: int) -> str | None:
    return f"has {broken} broken line{'s' * (broken > 1)}" if broken else None


def _joined(rows: Mapping[int, Mapping[str, float]], broken: int) -> tuple[pd.DataFrame | None, str | None]:
    """What read_rows gives, of the rows of a small file: without a frame in between, for there may be thousands."""
    names = _names(rows)
    if STEP not in names:
        return None, _said(broken)
    steps = dict[int, dict[str, float]]()
    for row in rows.values():
        if abs(step := row.get(STEP, math.nan)) < LATEST:
            steps.setdefault(int(step), {}).update({name: value for name, value in row.items() if value == value})
    names.remove(STEP)
    order = sorted(steps)
    table = np.array([[steps[step].get(name, np.nan) for name in names] for step in order], float)
    frame = pd.DataFrame(table.reshape(len(order), len(names)), columns=names)
    frame.insert(0, STEP, order)
    return frame, _said(broken)


def _parsed(rows: Iterator[tuple[int, bool, Any]]) -> tuple[pd.DataFrame, int]:
    """Rows of JSON as a frame indexed by line, and how many are broken."""
    found, broken = _numbers(rows)
    columns = {name: [row.get(name, np.nan) for row in found.values()] for name in _names(found)}
    return pd.DataFrame(columns, index=list(found), dtype=float), broken


def _numbers(rows: Iterator[tuple[int, bool, Any]]) -> tuple[dict[int, dict[str, float]], int]:
    """The numbers of rows of JSON by line, and how many rows are broken."""
    found, broken = dict[int, dict[str, float]](), 0
    for number, _, row in rows:
        if isinstance(row, dict):
            found[number] = {str(name): value for name, each in row.items() if (value := _number(each)) is not None}
        else:
            broken += 1
    return found, broken


def _names(rows: Mapping[int, Mapping[str, float]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows.values() for name in row))[:MOST_COLUMNS]


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _table(block: bytes) -> tuple[pd.DataFrame, int]:
    """The same for a block of whole lines. Rows of numbers with the keys of the first are read as columns, at C's
    speed; others one by one."""
    lines = block.split(b"\n")
    lines = lines if lines[-1] else lines[:-1]
    fast = _uniform(block, lines)
    rest = range(len(lines)) if fast is None else np.flatnonzero(~np.isin(np.arange(len(lines)), fast.index))
    slow, broken = _parsed((int(i), True, reading.parse_row(lines[i])) for i in rest if lines[i].strip())
    return (slow if fast is None else pd.concat([fast, slow]).sort_index()), broken


def _uniform(block: bytes, lines: list[bytes]) -> pd.DataFrame | None:
    """The rows with the keys of the first line, by their place; None where that is no way to read them."""
    first = reading.parse_row(lines[0]) if lines else None
    whole = block.endswith(b"\n") and block.count(b"{") == block.count(b"}") == len(lines)
    if not whole or not isinstance(first, dict) or not 0 < len(first) <= MOST_COLUMNS:
        return None
    keys = list(first)
    fields = range(2 * len(keys) + 1)  # one more, which must stay empty
    kinds: dict[int, Any] = {i: float if i % 2 else "category" for i in fields[:-1]}
    text = io.BytesIO(block.translate(_AS_CSV, b'{}"'))
    how: dict[str, Any] = {"header": None, "names": list(fields), "dtype": kinds, "engine": "c", "index_col": False}
    try:
        frame = pd.read_csv(text, skipinitialspace=True, quoting=csv.QUOTE_NONE, **how)
    except (ValueError, OverflowError):  # a field that is no number, or too many of them
        return None
    if len(frame) != len(lines):
        return None
    same = frame[fields[-1]].isna().to_numpy()
    for i, key in enumerate(keys):
        same = same & (frame[2 * i] == key).to_numpy()
    frame = frame.loc[same, [2 * i + 1 for i in range(len(keys))]]
    return frame.set_axis(keys, axis=1)
