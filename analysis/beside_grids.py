"""Published beside measured, as text: what can be compared with what, and the tables for report and files.

Of a text that papers have, each arm stands above the published numbers of its method, with what differs; of any other
text the tables in print are no more than an order of systems, each by itself.
"""

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.beside import UNKNOWN, of_arms, orders, others
from analysis.load import StudyResults
from analysis.markup import Grid, markdown
from analysis.numbers import with_interval
from analysis.plain_text import csv_text
from analysis.published import Text, published, published_of, text_of
from analysis.questions.full_model import varies_method
from analysis.results import score_digits

NOT_FOUND = {"multi30k": "no result of a diffusion or a non-autoregressive model on Multi30k was found in print"}
HEADS = ("system", "source", "metric", "score", "targets", "scored by", "candidates", "steps")


@dataclass(frozen=True)
class Beside:
    """What is published beside what a study measured: lines above the tables, the tables, and the frame behind them.

    frame: a row per number; `here`: whether it is of this study.
    """

    lines: list[str]
    grids: list[Grid]
    frame: pd.DataFrame


def beside(study: StudyResults) -> Beside | None:
    """The comparison, None for a study whose arms are of one method."""
    if not varies_method(study):
        return None
    text = text_of(study)
    arms, order = of_arms(study, text), orders(study, text)
    other = others(study, text) if text.data else pd.DataFrame()
    grids = [_arms_grid(study, arms)] if text.data else [_measured_grid(study, arms)]
    grids += [_others_grid(other)] if len(other) else []
    grids += [_orders_grid(order)] if len(order) else []
    shown = published_of(text) if text.data else published()
    rest = shown[~shown.index.isin(arms.get("row", pd.Series(dtype=float)).dropna())].assign(here=False)
    frame = pd.concat([arms, rest], ignore_index=True).drop(columns=["row"], errors="ignore")
    return Beside(lines_of(study, text, arms), grids, frame)


def lines_of(study: StudyResults, text: Text, arms: pd.DataFrame) -> list[str]:
    """Which text it is, what its numbers can be compared with, and what differs from all that is published."""
    lines = _known(text, arms) if text.data else _unknown(text)
    return [*lines, f"Measured here with {_budgets(study, arms)}.", in_print()]


def _unknown(text: Text) -> list[str]:
    """That nobody has published a number of this text, and what there is instead."""
    said = next((said for key, said in NOT_FOUND.items() if key in text.name.lower().replace(" ", "")), "")
    return [
        f"No published number is of this text, {text.name}{f': {said}' if said else ''}.",
        "What is published stands below as an order of systems alone, each table of a paper by itself: no number there "
        "is to be compared with one here.",
    ]


def _known(text: Text, arms: pd.DataFrame) -> list[str]:
    """Which of the published texts it is taken for, and which arms have no number in print."""
    both = not text.direction and (published_of(text)["direction"] != "").any()
    unsure = "; its name does not tell the direction, so numbers of all stand here" if both else ""
    lines = [
        f"This text, {text.name}, is taken for {text} by its name{unsure}. Its form and its size may be others: what "
        "is known to differ is said in each row."
    ]
    printed = set(arms.loc[~arms["here"], "arm"])
    without = dict.fromkeys(label for arm, label in zip(arms["arm"], arms["label"], strict=True) if arm not in printed)
    return [*lines, f"No number of this text is at hand of {', '.join(without)}."] if without else lines


def in_print() -> str:
    """What published numbers were trained and scored with, from the file."""
    rows = published()
    updates, width = (sorted({int(each) for each in rows[name] if each}) for name in ("updates", "width"))
    counts = [math.prod(map(int, each.split("x"))) for each in rows["candidates"] if each.replace("x", "").isdigit()]
    known = rows[rows["metric"].str.endswith("BLEU") & (rows["scoring"] != "unknown")]
    scored = ", ".join(known["scoring"].unique())
    return (
        f"In print: {updates[0]:,} to {updates[-1]:,} updates and width {width[0]} to {width[-1]} where that is said, "
        f"raw or distilled targets, 1 to {max(counts)} candidates, and BLEU by several countings ({scored}). Numbers "
        "of different protocols are never pooled; where tables contradict each other, both stand."
    )


def _budgets(study: StudyResults, arms: pd.DataFrame) -> str:
    """What may differ from what is published: updates, width, pairs, targets, BLEU, candidates, steps of all arms."""
    own, said = arms[arms["here"]], []
    for key in ("training", "width", "targets", "scoring", "candidates", "steps"):
        values = [each for each in dict.fromkeys(own[key]) if each not in UNKNOWN]
        said += [f"{'' if key == 'training' else f'{key} '}{' | '.join(values)}"] if values else []
    pairs = {int(n) for record in study.records.values() if (n := (record.get("data") or {}).get("train_pairs"))}
    said += [f"{' | '.join(f'{each:,}' for each in sorted(pairs))} training pairs"] if pairs else []
    return "; ".join(said)


def _arms_grid(study: StudyResults, arms: pd.DataFrame) -> Grid:
    """Each arm above the published rows of its method."""
    rows = []
    for row in _texts(arms):
        here = row["here"]
        name, score = (f"{row['label']} (here)", _score(study, row)) if here else (row["system"], row["value"])
        protocol = (row[key] for key in ("targets", "scoring", "candidates", "steps"))
        rows.append((name, row["source"], row["metric"], score, row["training" if here else "differs"], *protocol))
    heads = (*HEADS[:4], "what differs from here", *HEADS[4:])
    return Grid("Each arm, and below it what is published of its method", heads, tuple(rows))


def _texts(frame: pd.DataFrame) -> list[dict[Any, Any]]:
    """The rows, with nothing where there is no value."""
    return frame.astype(object).where(frame.notna(), "").to_dict("records")


def _score(study: StudyResults, row: dict[Any, Any]) -> str:
    """A mean over seeds with its interval."""
    numbers = {key: row[key] if row[key] != "" else math.nan for key in ("number", "number_low", "number_high")}
    return with_interval(pd.Series(row | numbers), "number", digits=score_digits(study))


def _measured_grid(study: StudyResults, arms: pd.DataFrame) -> Grid:
    """The arms alone, in the order of their scores."""
    ranked = _texts(arms.sort_values("number", ascending=False, kind="stable"))
    heads = ("system", f"{ranked[0]['metric']} here", "targets", "scored by", "candidates", "steps", "training")
    keys = ("targets", "scoring", "candidates", "steps", "training")
    rows = [(row["label"], _score(study, row), *(row[key] for key in keys)) for row in ranked]
    return Grid("Measured here, in order", heads, tuple(rows))


def _others_grid(rows: pd.DataFrame) -> Grid:
    """What is published of the text by other systems."""
    keys = ("system", "source", "metric", "value", "targets", "scoring", "candidates", "selection", "steps", "note")
    heads = (*HEADS[:-1], *keys[7:])
    cells = tuple(tuple(str(row[key]) for key in keys) for row in rows.to_dict("records"))
    return Grid("Published of this text, by systems that are no arms here", heads, cells)


def _orders_grid(rows: pd.DataFrame) -> Grid:
    """A table in print a row."""
    heads = ("table of", "text", "metric", "order of systems", "protocol of all")
    keys = ("source", "text", "metric", "order", "common")
    cells = tuple(tuple(row[key] or "not said" for key in keys) for row in rows.to_dict("records"))
    return Grid("Order of systems in print, each table by itself", heads, cells)


def published_files(study: StudyResults) -> dict[str, str]:
    """published.md and published.csv of a study of methods: name -> content; none of another study."""
    found = beside(study)
    if found is None:
        return {}
    return {"published.md": markdown(found.grids, found.lines), "published.csv": csv_text(found.frame)}
