"""The numbers that papers have published of the systems, each with its protocol (published.csv), and of which text.

A row is one number of one table. Numbers of different protocols are never pooled, and where tables contradict each
other both rows stand. Columns: system (as that table names it) and method (ours of that name; empty: there is none);
data, direction (of translation), metric, value as published, scale (what the best value would be: 100 or 1); targets
(raw, distilled or unknown), scoring (tokenised, sacreBLEU, detokenised, sentence average, ...), candidates, selection
among them, steps, updates, width (empty: the table does not say); source (whose table), whose (own: the system's
authors tell their own number; of second hand: other, and where that is known copied or run again; user: of a user),
read (source: there; quoted: in a paper that quotes it; low trust).
"""

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from analysis.load import StudyResults

FILE = Path(__file__).with_name("published.csv")
TEXTS = {
    "IWSLT14": r"iwslt(20)?14",
    "WMT14": r"wmt(20)?14",
    "WMT16": r"wmt(20)?16",
    "QQP": r"qqp|quora",
    "Wiki-Auto": r"wikiauto",
    "Quasar-T": r"quasart",
    "CC": r"commonsenseconversation",
    "Gigaword": r"gigaword",
    "XSum": r"xsum",
}
"""Texts with published numbers: how the folder's name, without all but letters and digits, tells them."""
TRAIN_PAIRS = {"IWSLT14": 160_239}
"""Training pairs of the published text, where they are known."""
DIRECTION = re.compile(r"(?<![a-z])(de|en|ro)[-_.]?(?:to|2)?[-_.]?(de|en|ro)(?![a-z])")


class Text(NamedTuple):
    """What a study's text is called, which of the published ones it is (empty: none), and the direction if it is one of
    translation and the name tells it."""

    name: str
    data: str
    direction: str

    def __str__(self) -> str:
        return titled(self.data, self.direction)


def titled(data: str, direction: str) -> str:
    """A text with its direction, such as "IWSLT14 De-En"."""
    return f"{data}, direction unknown" if direction == "unknown" else f"{data} {direction.title()}".strip()


@cache
def published() -> pd.DataFrame:
    """A row per published number; `number` is the value, texts are empty where nothing is known."""
    frame = pd.read_csv(FILE, dtype=str, keep_default_na=False)
    return frame.assign(number=frame["value"].astype(float), scale=frame["scale"].astype(float))


def published_of(text: Text) -> pd.DataFrame:
    """The numbers of a text, in both directions where its name tells none; none of a text that no paper has."""
    found = published()
    found = found[found["data"] == text.data]
    return found[found["direction"] == text.direction] if text.direction else found


def text_of(study: StudyResults) -> Text:
    """Which text the results of a study are of, by the name of its folder and of its two sides.

    Of a text made from another (distilled) by the name of that. Where results are of several texts it is none of the
    published ones.
    """
    names = list(dict.fromkeys(name for record in study.records.values() if (name := first_name(record.get("data")))))
    if len(names) != 1:
        return Text(" and ".join(names) or "unknown text", "", "")
    folder, _, sides = names[0].rpartition(" ")
    bare = re.sub(r"[^a-z0-9]", "", (folder or names[0]).lower())
    known = [data for data, pattern in TEXTS.items() if re.search(pattern, bare)]
    pair = next((found for part in (sides, folder) if (found := DIRECTION.search(part.lower()))), None)
    if len(known) != 1:
        return Text(names[0], "", "")
    translated = known[0] in ("IWSLT14", "WMT14", "WMT16")
    return Text(names[0], known[0], f"{pair[1]}-{pair[2]}" if pair and translated else "")


def first_name(data: object) -> str:
    """The name of a run's text, or of the first text that it was made from."""
    while isinstance(data, dict):
        lineage = data.get("lineage")
        source = lineage.get("source") if isinstance(lineage, dict) else None
        if not isinstance(source, dict) or not source.get("name"):
            return str(data.get("name") or "")
        data = source
    return ""
