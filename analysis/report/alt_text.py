"""What a figure shows, in words made from its numbers: the alternative text for who cannot see it."""

import math
from collections.abc import Callable

import pandas as pd

MOST = 12
"""Arms that a description names before it says how many more there are."""


def describe(name: str, frame: pd.DataFrame) -> str:
    """The description of a figure by its name and the frame it was drawn from."""
    writer = WRITERS.get(name)
    text = writer(frame) if writer else f"{len(frame)} values; they stand in the table of data below the figure."
    return f"{text} All values stand in the table of data below the figure."


def value_text(x: float) -> str:
    """A number of a description."""
    return "unknown" if not math.isfinite(x) else f"{x:.4g}".replace("-", "−")


def listed(items: list[str]) -> str:
    """Items one after the other, the last ones only counted."""
    more = f"; and {len(items) - MOST} more" if len(items) > MOST else ""
    return "; ".join(items[:MOST]) + more


def ends(frame: pd.DataFrame, x: str, keys: list[str], said: str) -> str:
    """For each curve: the mean over seeds where x is smallest and where it is largest."""
    sentences = []
    for key, rows in frame.groupby(keys, sort=False) if keys else [((), frame)]:
        items = []
        for label, curve in rows.groupby("label", sort=False):
            curve = curve.sort_values(x)
            first, last = curve.iloc[0], curve.iloc[-1]
            items.append(f"{label} {value_text(first['mean'])} to {value_text(last['mean'])}")
        name = " ".join(str(part) for part in key)
        low, high = rows[x].min(), rows[x].max()
        sentences.append(f"{name or said} from {x} = {low:g} to {x} = {high:g}: {listed(items)}.")
    return " ".join(sentences)


def scores(frame: pd.DataFrame) -> str:
    """Means of arms, then effects or differences, with intervals."""
    parts = []
    for kinds, said in (
        (("arm",), "Mean score"),
        (("main", "interaction"), "Effects"),
        (("difference",), "Differences"),
    ):
        rows = frame[frame["kind"].isin(kinds)]
        if len(rows):
            parts.append(f"{said}: {listed([_with_interval(row) for _, row in rows.iterrows()])}.")
    return " ".join(parts)


def _with_interval(row: pd.Series) -> str:
    group = row.get("group")
    name = f"{row['label']} ({group})" if isinstance(group, str) else row["label"]
    text = f"{name} {value_text(row['estimate'])}"
    known = math.isfinite(row["low"]) and math.isfinite(row["high"])
    return f"{text}, interval {value_text(row['low'])} to {value_text(row['high'])}" if known else text


def norms(frame: pd.DataFrame) -> str:
    """Median norm of the most frequent and of the rarest band, per arm and kind."""
    names = {"norm": "of z_0", "norm_raw": "in the table"}
    parts = []
    for kind, rows in frame.groupby("kind", sort=False):
        items = []
        for label, bands in rows.groupby("label", sort=False):
            bands = bands.sort_values("band")
            items.append(f"{label} {value_text(bands.iloc[0]['median'])} to {value_text(bands.iloc[-1]['median'])}")
        parts.append(
            f"Median norm {names.get(str(kind), kind)}, from the most frequent to the rarest types: {listed(items)}."
        )
    return " ".join(parts)


def front(frame: pd.DataFrame) -> str:
    """What is on the front, from the fastest, and each method's best."""
    rows = frame[frame["front"]].sort_values("ms")
    on = [f"{_with_steps(row)} at {value_text(row['ms'])} ms" for _, row in rows.iterrows()]
    best = [_with_steps(frame.loc[own.index[own["mean"].argmax()]]) for _, own in frame.groupby("label", sort=False)]
    return f"BLEU on the front, from the fastest: {listed(on)}. Each method's best: {listed(best)}."


def _with_steps(row: pd.Series) -> str:
    steps = f" ({row['steps']:g} steps)" if math.isfinite(row["steps"]) else ""
    return f"{row['label']}{steps} {value_text(row['mean'])}"


WRITERS: dict[str, Callable[[pd.DataFrame], str]] = {
    "ablation": scores,
    "embedding_norms": norms,
    "loss_collapse": lambda frame: ends(frame, "train/step", ["metric"], ""),
    "per_step": lambda frame: ends(frame, "t", ["metric"], ""),
    "one_shot": lambda frame: ends(frame, "t", ["metric", "mode"], ""),
    "quality_time": front,
    "score_steps": lambda frame: (
        ends(frame.assign(label=frame["kind"]), "calls", [], "Score")
        if "calls" in frame and "kind" in frame
        else ends(frame, "steps", [], "BLEU")
    ),
}
