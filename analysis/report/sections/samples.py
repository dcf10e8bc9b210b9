"""Samples side by side: source, reference, what each arm wrote, and how the text looked at each decoding step."""

from dataclasses import dataclass
from typing import Any

from analysis.load import StudyResults
from analysis.report.html import Html, join, tag, text_of
from analysis.report.section import Section
from core.run_folder import SAMPLES, try_read

SENTENCES = 12
"""Sentences shown."""


@dataclass(frozen=True)
class Samples:
    """What the arms wrote for the same sentences with the same seed: arm name -> sentence id -> row."""

    seed: int
    ids: list[int]
    rows: dict[str, dict[int, dict[str, Any]]]
    total: int
    stepwise: bool = True
    """Whether any run recorded how its texts looked at each step."""


def read_samples(study: StudyResults) -> Samples | None:
    """The sentences that all arms with samples translated, of the seed that most arms have (the lowest of those)."""
    by_seed: dict[int, dict[str, dict[int, dict[str, Any]]]] = {}
    for record in study.scores[["run", "arm", "seed"]].to_dict("records"):
        rows, _ = try_read(study.path / record["run"] / SAMPLES)
        whole = {row["id"]: row for row in rows or () if isinstance(row.get("id"), int) and "source" in row}
        if whole:
            by_seed.setdefault(record["seed"], {})[record["arm"]] = whole
    if not by_seed:
        return None
    seed = min(by_seed, key=lambda each: (-len(by_seed[each]), each))
    rows_of = by_seed[seed]
    common = sorted(i for i in set.intersection(*[set(rows) for rows in rows_of.values()]) if _same(rows_of, i))
    if not common:
        return None
    stepwise = [rows for rows in rows_of.values() if any(row.get("trajectory") for row in rows.values())]
    decoded = [i for i in common if all(rows[i].get("trajectory") for rows in stepwise)] if stepwise else []
    return Samples(seed, choose(common, decoded), rows_of, len(common), bool(stepwise))


def choose(common: list[int], decoded: list[int]) -> list[int]:
    """The sentences to show: two thirds such as have their decoding recorded, as far as there are, the rest others."""
    first = spread(decoded, SENTENCES if len(decoded) == len(common) else 2 * SENTENCES // 3)
    return sorted(first + spread([i for i in common if i not in decoded], SENTENCES - len(first)))


def _same(rows_of: dict[str, dict[int, dict[str, Any]]], i: int) -> bool:
    """Whether all arms had the same source and reference."""
    return len({(str(rows[i].get("source")), str(rows[i].get("reference"))) for rows in rows_of.values()}) == 1


def spread(items: list[int], count: int) -> list[int]:
    """At most count of the items, evenly spaced, first and last among them."""
    if len(items) <= count:
        return items
    if count < 2:
        return items[:count]
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]


def samples_section(study: StudyResults) -> Section:
    """Controls, and a block per sentence."""
    samples = read_samples(study)
    if samples is None:
        return Section("samples", "Samples", tag("p", f"No run has samples ({SAMPLES}) that can be compared."))
    arms = [(i, arm) for i, arm in enumerate(study.arms) if arm.name in samples.rows]
    count = f"{len(samples.ids)} of {samples.total:,} test sentences"
    steps = ["; runs record the decoding of some. Words that changed since the step before are ", tag("mark", "marked")]
    where = f"Seed {samples.seed}; {count}, by their place, not their quality"
    intro = tag("p", where, steps if samples.stepwise else None, ".", class_="note")
    blocks = [_sentence(samples, i, arms) for i in samples.ids]
    title = "Samples and their decoding" if samples.stepwise else "Samples"
    return Section("samples", title, join(intro, _controls(samples, arms), blocks))


def _controls(samples: Samples, arms: list[Any]) -> Html:
    options = [
        tag("option", f"{i}: {_short(next(iter(samples.rows.values()))[i].get('source'))}", value=f"sentence-{i}")
        for i in samples.ids
    ]
    boxes = [
        tag("label", tag("input", type="checkbox", checked=True, data_arm=str(i)), " ", text_of(arm.label))
        for i, arm in arms
    ]
    choose = tag("label", "Sentence ", tag("select", options, id="sentence"))
    step = tag(
        "label",
        "Decoding step ",
        tag("output", "", id="decoding-at", for_="decoding"),
        tag("input", type="range", id="decoding", min="0", max="1", value="1", step="1"),
    )
    fieldset = tag("fieldset", tag("legend", "Arms"), boxes)
    return tag(
        "div", choose, step if samples.stepwise else None, fieldset, class_="controls js-only", id="sample-controls"
    )


def _short(text: object, most: int = 60) -> str:
    words = str(text)
    return words if len(words) <= most else words[: most - 1] + "…"


def _sentence(samples: Samples, i: int, arms: list[Any]) -> Html:
    row = next(iter(samples.rows.values()))[i]
    pair = tag(
        "dl",
        tag("dt", "source"),
        tag("dd", row.get("source"), dir="auto"),
        *(part for text in _references(row) for part in (tag("dt", "reference"), tag("dd", text, dir="auto"))),
        class_="pair",
    )
    outputs = [_output(samples.rows[arm.name][i], number, arm.label) for number, arm in arms]
    heading = tag("h3", f"Sentence {i}")
    return tag("article", heading, pair, tag("ol", outputs, class_="outputs"), id=f"sentence-{i}", class_="sentence")


def _references(row: dict[str, Any]) -> list[Any]:
    """All references of a sentence."""
    several = row.get("references")
    return several if isinstance(several, list) and several else [row.get("reference", "")]


def _output(row: dict[str, Any], number: int, label: str) -> Html:
    """What one arm wrote, and the steps there."""
    score = row.get("sentence_bleu")
    scored = tag("span", f"sentence BLEU {score:.0f}", class_="note") if isinstance(score, int | float) else None
    head = tag("p", tag("a", text_of(label), href=f"#arm-{number}"), " ", scored, class_="who")
    text = tag("span", row.get("hypothesis", ""), dir="auto", class_="text")
    final = tag("p", tag("span", "output", class_="t"), " ", text, class_="line final")
    written = tag("div", final, _steps(row.get("trajectory")))
    return tag("li", head, written, data_arm=str(number))


def _steps(trajectory: Any) -> Html | None:
    steps = [s for s in trajectory if isinstance(s, dict) and "text" in s] if isinstance(trajectory, list) else []
    if not steps:
        return None
    items, before = [], None
    for step in steps:
        words = str(step["text"]).split()
        time = tag("span", f"t = {step.get('t', '?'):,}" if isinstance(step.get("t"), int) else "t = ?", class_="t")
        items.append(
            tag("li", time, " ", tag("span", mark_changes(words, before), dir="auto", class_="text"), class_="line")
        )
        before = words
    return tag("details", tag("summary", f"{len(steps)} steps"), tag("ol", items), class_="steps")


def mark_changes(words: list[str], before: list[str] | None) -> Html:
    """The words of a step, those that differ from the step before at their place marked."""
    marked: list[object] = []
    for i, word in enumerate(words):
        new = before is not None and (i >= len(before) or before[i] != word)
        marked += [" " if i else None, tag("mark", word) if new else word]
    return join(*marked)
