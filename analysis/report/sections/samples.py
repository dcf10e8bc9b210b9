"""Samples side by side: source, reference, what each arm wrote, and how the text looked at each decoding step.

Some sentences of one seed stand in the page itself, for who reads it without JavaScript or on paper; the script shows
all seeds and more sentences, in the order one chooses, from `Samples.data`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from analysis.load import StudyResults
from analysis.plain_text import spell_out
from analysis.report.differences import ADDED, MISSING, Part, differences
from analysis.report.html import Html, escape, join, script_data, tag, text_of
from analysis.report.section import Section
from analysis.report.sections.curves import pick_buttons
from core.run_folder import SAMPLES, try_read

SENTENCES = 12
"""Sentences that stand in the page itself."""
CHARACTERS = 800_000
"""Of the texts that the script can show, all sentences, arms and seeds together."""
ORDERS = {
    "place": "as in the test set",
    "low": "lowest sentence BLEU first",
    "high": "highest sentence BLEU first",
    "apart": "most different between arms first",
}
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Samples:
    """What the arms wrote for the same sentences. rows: seed -> arm name -> sentence id -> row.

    seed: the one whose sentences `ids` stand in the page itself; more: the ids that the script can show.
    """

    seed: int
    ids: list[int]
    more: list[int]
    rows: dict[int, dict[str, dict[int, Row]]]
    total: int
    stepwise: bool = True
    """Whether any run recorded how its texts looked at each step."""

    @property
    def own(self) -> dict[str, dict[int, Row]]:
        """The rows of the seed that stands in the page."""
        return self.rows[self.seed]

    def data(self, arms: list[tuple[int, Any]]) -> dict[str, Any]:
        """All for the script: sentences, and for each seed and arm the outputs in their order."""
        first = next(iter(self.own.values()))
        texts = {i: [spell_out(first[i].get("source")), references_of(first[i])] for i in self.more}
        outputs = {
            str(seed): {
                str(number): [_packed(by_arm[arm.name][i]) for i in self.more]
                for number, arm in arms
                if arm.name in by_arm
            }
            for seed, by_arm in sorted(self.rows.items())
        }
        names = {str(number): spell_out(arm.label) for number, arm in arms}
        return {
            "seed": str(self.seed),
            "arms": names,
            "sentences": [[i, *texts[i]] for i in self.more],
            "outputs": outputs,
        }


def _packed(row: Row) -> list[Any]:
    """An output for the script: its sentence BLEU, its parts, each with its kind before it, and its steps (t, text)."""
    parts = [part.kind + part.text for part in differences_of(row)]
    steps = [[step_time(step), spell_out(step["text"])] for step in steps_of(row)]
    score = sentence_score(row)
    return [None if score is None else round(score, 1), parts, *([steps] if steps else [])]


def references_of(row: Row) -> list[str]:
    """All references of a sentence: `references` where it has several, else `reference`."""
    several = row.get("references")
    return [spell_out(each) for each in (several if isinstance(several, list) else [row.get("reference", "")])]


def differences_of(row: Row) -> list[Part]:
    """How an output differs from its references."""
    return differences(spell_out(row.get("hypothesis", "")), references_of(row))


def sentence_score(row: Row) -> float | None:
    """The sentence BLEU of a row, if it has one."""
    score = row.get("sentence_bleu")
    return float(score) if isinstance(score, int | float) and math.isfinite(score) else None


def read_samples(study: StudyResults) -> Samples | None:
    """The sentences that all runs with samples translated; in the page those of the seed that most arms have.

    Of several such seeds it is the lowest.
    """
    by_seed: dict[int, dict[str, dict[int, Row]]] = {}
    for record in study.scores[["run", "arm", "seed"]].to_dict("records"):
        rows, _ = try_read(study.path / record["run"] / SAMPLES)
        whole = {row["id"]: row for row in rows or () if isinstance(row.get("id"), int) and "source" in row}
        if whole:
            by_seed.setdefault(record["seed"], {})[record["arm"]] = whole
    if not by_seed:
        return None
    seed = min(by_seed, key=lambda each: (-len(by_seed[each]), each))
    own = list(by_seed[seed].values())
    common = shared(own)
    if not common:
        return None
    alike = {s: {arm: rows for arm, rows in arms.items() if _fits(rows, own[0], common)} for s, arms in by_seed.items()}
    stepwise = [rows for rows in own if any(row.get("trajectory") for row in rows.values())]
    decoded = [i for i in common if all(rows[i].get("trajectory") for rows in stepwise)] if stepwise else []
    ids = choose(common, decoded)
    runs = [rows for arms in alike.values() for rows in arms.values()]
    more = affordable(common, ids, runs)
    return Samples(seed, ids, more, {s: arms for s, arms in alike.items() if arms}, len(common), bool(stepwise))


def shared(runs: list[dict[int, Row]]) -> list[int]:
    """The sentences that all runs have with the same source and reference."""
    common = sorted(set.intersection(*[set(rows) for rows in runs]))
    return [i for i in common if len({_pair(rows[i]) for rows in runs}) == 1]


def _pair(row: Row) -> tuple[str, ...]:
    return str(row.get("source")), *references_of(row)


def _fits(rows: dict[int, Row], first: dict[int, Row], common: list[int]) -> bool:
    """Whether a run of another seed has the same sentences."""
    return all(i in rows and _pair(rows[i]) == _pair(first[i]) for i in common)


def affordable(common: list[int], ids: list[int], runs: list[dict[int, Row]]) -> list[int]:
    """The sentences for the script: those in the page, and as many others as CHARACTERS allow, evenly spread."""
    probe = spread(common, 50)
    length = sum(_length(rows[i]) for rows in runs for i in probe)
    room = int(CHARACTERS * len(probe) / max(length, 1))
    return sorted({*ids, *spread(common, max(room, len(ids)))})


def _length(row: Row) -> int:
    """About how many characters an output takes: it, what it lacks, and its steps."""
    steps = sum(len(str(step["text"])) + 8 for step in steps_of(row))
    return len(str(row.get("hypothesis", ""))) + len(str(row.get("reference", ""))) + steps


def choose(common: list[int], decoded: list[int]) -> list[int]:
    """The sentences to show: two thirds such as have their decoding recorded, as far as there are, the rest others."""
    first = spread(decoded, SENTENCES if len(decoded) == len(common) else 2 * SENTENCES // 3)
    return sorted(first + spread([i for i in common if i not in decoded], SENTENCES - len(first)))


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
    known = set().union(*samples.rows.values())
    arms = [(i, arm) for i, arm in enumerate(study.arms) if arm.name in known]
    blocks = [_sentence(samples, i, arms) for i in samples.ids]
    title = "Samples and their decoding" if samples.stepwise else "Samples"
    view = tag("div", "", id="sample-view", class_="js-only")
    data = script_data(samples.data(arms), "samples-data")
    return Section("samples", title, join(_intro(samples), _controls(samples, arms), view, blocks, data))


def _intro(samples: Samples) -> Html:
    """What is shown, and what the marks mean."""
    own = f"Seed {samples.seed}; {len(samples.ids)} of {samples.total:,} test sentences, by place, not by quality"
    seeds = "seed" if len(samples.rows) == 1 else "seeds"
    whole = f"{len(samples.rows)} {seeds}; {len(samples.more):,} of {samples.total:,} test sentences"
    recorded = " Of some the decoding is recorded; words that changed since the step before are "
    return tag(
        "p",
        tag("span", own, class_="no-js"),
        tag("span", whole, class_="js-only"),
        ". Against the reference: words that it does not have are ",
        tag("ins", "underlined"),
        ", words that the output lacks are ",
        tag("del", "struck out"),
        ".",
        [recorded, tag("mark", "marked"), "."] if samples.stepwise else None,
        class_="note",
    )


def _controls(samples: Samples, arms: list[tuple[int, Any]]) -> Html:
    seeds = [tag("option", str(seed), value=str(seed), selected=seed == samples.seed) for seed in sorted(samples.rows)]
    orders = [tag("option", said, value=name) for name, said in ORDERS.items()]
    boxes = [
        tag("label", tag("input", type="checkbox", checked=True, data_arm=str(i)), " ", text_of(arm.label))
        for i, arm in arms
    ]
    turn = [tag("button", said, type="button", id=f"sentence-{said.lower()}") for said in ("Previous", "Next")]
    step = tag(
        "label",
        "Decoding step ",
        tag("output", "", id="decoding-at", for_="decoding"),
        tag("input", type="range", id="decoding", min="0", max="1", value="1", step="1"),
    )
    parts = [
        tag("label", "Seed ", tag("select", seeds, id="sample-seed")),
        tag("label", "Order ", tag("select", orders, id="sample-order")),
        tag("label", "Sentence ", tag("select", id="sentence")),
        tag("span", turn, class_="picks"),
        step if samples.stepwise else None,
        tag("label", tag("input", type="checkbox", checked=True, id="marked"), " Differences to the reference"),
        tag("fieldset", tag("legend", "Arms"), boxes, pick_buttons()),
    ]
    return tag("div", parts, class_="controls js-only", id="sample-controls")


def _sentence(samples: Samples, i: int, arms: list[Any]) -> Html:
    row = next(iter(samples.own.values()))[i]
    pair = tag(
        "dl",
        tag("dt", "source"),
        tag("dd", row.get("source"), dir="auto"),
        [(tag("dt", "reference"), tag("dd", text, dir="auto")) for text in references_of(row)],
        class_="pair",
    )
    own = samples.own
    outputs = [_output(own[arm.name][i], number, arm.label) for number, arm in arms if arm.name in own]
    heading = tag("h3", f"Sentence {i}")
    return tag("article", heading, pair, tag("ol", outputs, class_="outputs"), id=f"sentence-{i}", class_="sentence")


def _output(row: Row, number: int, label: str) -> Html:
    """What one arm wrote, and the steps there."""
    score = sentence_score(row)
    scored = None if score is None else tag("span", f"sentence BLEU {score:.0f}", class_="note")
    head = tag("p", tag("a", text_of(label), href=f"#arm-{number}"), " ", scored, class_="who")
    text = tag("span", _marked(row), dir="auto", class_="text")
    final = tag("p", tag("span", "output", class_="t"), " ", text, class_="line final")
    written = tag("div", final, _steps(row))
    return tag("li", head, written, data_arm=str(number))


def _marked(row: Row) -> list[Html]:
    """The output with its differences to the reference."""
    kinds = {ADDED: "ins", MISSING: "del"}
    parts = differences_of(row)
    return [tag(kinds[part.kind], part.text) if part.kind in kinds else escape(part.text) for part in parts]


def steps_of(row: Row) -> list[dict[str, Any]]:
    """The steps of a decoding that can be shown."""
    trajectory = row.get("trajectory")
    return [s for s in trajectory if isinstance(s, dict) and "text" in s] if isinstance(trajectory, list) else []


def step_time(step: dict[str, Any]) -> str:
    """'t = 1,999'; 't = 0.9' where times are shares."""
    t = step.get("t")
    if isinstance(t, bool) or not isinstance(t, int | float) or not math.isfinite(t):
        return "t = ?"
    return f"t = {t:,}" if isinstance(t, int) else f"t = {t:.3g}"


def _steps(row: Row) -> Html | None:
    if not (steps := steps_of(row)):
        return None
    items, before = [], None
    for step in steps:
        words = str(step["text"]).split()
        time = tag("span", step_time(step), class_="t")
        text = tag("span", mark_changes(words, before), dir="auto", class_="text")
        items.append(tag("li", time, " ", text, class_="line"))
        before = words
    return tag("details", tag("summary", f"{len(steps)} steps"), tag("ol", items), class_="steps")


def mark_changes(words: list[str], before: list[str] | None) -> Html:
    """The words of a step, those that differ from the step before at their place marked."""
    marked: list[object] = []
    for i, word in enumerate(words):
        new = before is not None and (i >= len(before) or before[i] != word)
        marked += [" " if i else None, tag("mark", word) if new else word]
    return join(*marked)
