"""Published beside measured, as frames: arms above the published rows of their methods, and the order in each table."""

import math
import re
from typing import Any

import pandas as pd

from analysis.footer import arm_rows, updates_of
from analysis.load import StudyResults
from analysis.published import TRAIN_PAIRS, Text, published, published_of, titled
from analysis.questions.full_model import method_of
from analysis.results import metric_name
from analysis.sentence_counts import tokenizer_in
from analysis.tested import mean_columns

MEASURED = {"BLEU": "bleu", "ROUGE-1": "rouge1", "ROUGE-2": "rouge2", "ROUGE-L": "rougeL"}
"""Published metrics that runs have too: their columns in scores."""
PROTOCOL = ("targets", "scoring", "candidates", "selection", "steps", "whose")
UNKNOWN = ("", "unknown", "n/a")
"""What says nothing of a protocol."""
COUNT = re.compile(r"\d+(x\d+)*")


def of_arms(study: StudyResults, text: Text) -> pd.DataFrame:
    """For each arm a row of its own for each metric in print, and below it the published rows of its method.

    Of a text that is not in print the arms alone. row: the index in `published`; differs: what to know of a comparison.
    """
    found, facts = published_of(text), arm_rows(study).set_index("arm")
    rows: list[dict[str, Any]] = []
    for arm in study.arms:
        method, own = method_of(study, arm), here(study, arm.name, facts.loc[arm.name])
        printed = found[found["method"] == method]
        columns = {metric_name(study): study.metric} | {m: MEASURED[m] for m in MEASURED if m in set(printed["metric"])}
        for metric, column in {m: c for m, c in columns.items() if c in study.scores}.items():
            values = list(study.values(column, arm.name).values())
            head = {"arm": arm.name, "label": arm.label, "here": True, "method": method, "system": arm.label}
            rows.append(head | {"metric": metric} | mean_columns("number", values) | own | {"n_seeds": len(values)})
            rows += [_printed(arm, row, own) for row in printed[printed["metric"] == metric].itertuples()]
        left = printed[~printed["metric"].isin(list(columns))]
        rows += [_printed(arm, row, own) for row in left.itertuples()]
    return pd.DataFrame(rows).assign(data=text.data)


def _printed(arm: Any, row: Any, own: dict[str, str]) -> dict[str, Any]:
    """A published row below an arm."""
    facts = {key: value for key, value in row._asdict().items() if key != "Index"}
    head = {"arm": arm.name, "label": arm.label, "here": False, "row": row.Index}
    return head | {"differs": differs(facts, own)} | facts


def here(study: StudyResults, arm: str, facts: "pd.Series[str]") -> dict[str, str]:
    """An arm's protocol in the words of the file."""
    record = next(record for record in study.records.values() if record["arm"] == arm)
    data: dict[str, Any] = record.get("data") or {}
    lineage = data.get("lineage")
    made: dict[str, Any] = lineage if isinstance(lineage, dict) else {}
    several = facts["selection"] not in UNKNOWN and not _alike(str(facts["candidates"]), "1")
    chosen = f", by {facts['selection']}" if several else ""
    return {
        "targets": "distilled" if made.get("made_by") == "distillation" else "raw",
        "scoring": f"sacreBLEU {tokenizer_in(facts['signature'])}",
        "candidates": f"{facts['candidates']}{chosen}",
        "steps": "" if facts["decoding_steps"] in UNKNOWN else str(facts["decoding_steps"]),
        "training": str(facts["training"]),
        "updates": str(updates_of(record) or ""),
        "width": str((record.get("config") or {}).get("model_dim") or ""),
        "pairs": str(data.get("train_pairs") or ""),
        "source": "this study",
    }


def differs(row: dict[str, Any], own: dict[str, str]) -> str:
    """What to know before a published number is held against one here."""
    said = []
    if row["metric"] not in MEASURED:
        said.append(f"{row['metric']} is not measured here")
    elif row["metric"] == "BLEU" and row["scoring"] not in ("sacreBLEU", "unknown"):
        said.append(f"BLEU {row['scoring']}, here {own['scoring']}")
    chosen = f"{row['candidates']} ({row['selection']})" if row["selection"] not in ("", "none") else row["candidates"]
    pairs = TRAIN_PAIRS.get(row["data"], 0)
    there = {name: row[name] for name in ("targets", "steps", "updates", "width")}
    there |= {"candidates": chosen, "training pairs": str(pairs or "")}
    mine = {name: own[name] for name in ("targets", "candidates", "steps", "updates", "width")}
    mine |= {"training pairs": own["pairs"]}
    for name, value in mine.items():
        if value and there[name] not in UNKNOWN and not _alike(there[name], value):
            said.append(f"{name} {_number(there[name])}, here {_number(value)}")
    silent = [name for name in mine if there[name] in UNKNOWN and mine[name] and name != "training pairs"]
    silent += ["scoring"] if row["scoring"] == "unknown" else []
    said += [f"not said: {', '.join(silent)}"] if silent else []
    said += [row["whose"]] if row["whose"] in ("copied", "run again") else []
    return "; ".join(filter(None, [*said, row["read"] if row["read"] != "source" else "", row["note"]]))


def _alike(there: str, here: str) -> bool:
    """Whether two entries say the same: "1" candidate is "1x1", and a number counts as another within 2%."""
    one, two = (math.prod(map(int, each.split("x"))) if COUNT.fullmatch(each) else 0 for each in (there, here))
    return there == here or (one > 0 and abs(two / one - 1) < 0.02)


def _number(text: str) -> str:
    """A whole number with its thousands apart."""
    return f"{int(text):,}" if text.isdigit() else text


def others(study: StudyResults, text: Text) -> pd.DataFrame:
    """Published numbers of the text by systems that are no arms of the study."""
    found = published_of(text)
    return found[~found["method"].isin(_methods(study))]


def _methods(study: StudyResults) -> list[str]:
    return list(dict.fromkeys(method_of(study, arm) for arm in study.arms))


def orders(study: StudyResults, text: Text) -> pd.DataFrame:
    """The tables in print that have two methods of the study or more, each with these in the order of their scores."""
    rows = published_of(text) if text.data else published()
    rows = rows[rows["method"].isin(_methods(study))]
    family = "ROUGE" if study.metric.startswith("rouge") else "BLEU"
    if not text.data:
        rows = rows[rows["metric"].str.contains(family)]
    found = []
    for (source, data, direction, metric), table in rows.groupby(["source", "data", "direction", "metric"], sort=False):
        if table["method"].nunique() > 1:
            common = {key: table[key].iloc[0] for key in PROTOCOL if table[key].nunique() == 1}
            ranked = table.sort_values("number", ascending=False, kind="stable")
            order = " > ".join(_ranked(row, common) for row in ranked.to_dict("records"))
            said = "; ".join(f"{key} {value}" for key, value in common.items() if value not in (*UNKNOWN, "other"))
            found.append({"source": source, "text": titled(data, direction), "metric": metric, "common": said,
                          "order": order})  # fmt: skip
    return pd.DataFrame(found)


def _ranked(row: dict[str, Any], common: dict[str, Any]) -> str:
    """A system with its number, and in brackets what of its protocol is not that of the whole table."""
    own = [key for key in PROTOCOL if key not in common and row[key] not in (*UNKNOWN, "none", "own", "other")]
    said = "; ".join(row[key] if key == "whose" else f"{key} {row[key]}" for key in own)
    return f"{row['system']} {row['value']}{f' ({said})' if said else ''}"
