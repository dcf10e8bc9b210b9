"""Where a table's numbers come from, in plain sentences: its footer.

Metric and signature, data, tokenizer, decoding, seeds, device, processor, command, tuning, and every run
that failed, diverged or was left out.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pandas as pd

from analysis.effects import complete_seeds, is_factorial
from analysis.judging import floors
from analysis.load import StudyResults
from analysis.mixture import mixture_note
from analysis.questions import unknown_claims
from analysis.results import OWN_SIGNATURE, metric_name

INTERVALS = (
    "Intervals: 95%, Student's t over seeds (n/a with one seed, or where all are equal): right if seeds scatter "
    "normally, too narrow if they scatter askew or runs diverge. The CSV files also have bootstraps over seeds: "
    "studentized, from 4 seeds on as good as t; percentile, too narrow (it covers 50, 75, 81, 84, 90% at 2, 3, 4, 5, "
    "10 seeds)."
)
"""What the intervals over seeds are, and what they are worth (measured: analysis/stats.py)."""


def footer(study: StudyResults) -> list[str]:
    """The lines below a table, the banner first."""
    lines = [study.banner] if study.banner else []
    lines += [
        f"Metric: BLEU {_scores(study, 'signature')}; chrF {_scores(study, 'chrf_signature')}{_more_scores(study)}.",
        f"Test set: {_scores(study, 'sentences')} sentences{_decoding(study)}.",
        f"Floor: {_floor(study)}.",
        f"Data: {_records(study, _data)}. Tokenizer: {_records(study, _tokenizer)}.",
        *_text(study),
        f"Training: {_records(study, _training)}; {_records(study, _parameters)}.",
        f"Seeds: {_seeds(study)}. {INTERVALS}",
        f"Tuning: {tuning(study)}. Device: {_records(study, _device)}, "
        f"threads per run: {_records(study, lambda r: r.get('threads'))}; torch {_records(study, _torch)}; "
        f"commit {_records(study, _commit)}.",
        f"Command: {_command(study)}",
    ]
    return lines + exceptions(study)


def arm_rows(study: StudyResults) -> pd.DataFrame:
    """A row per arm, in display order: what a result must carry to be compared with another, as text."""
    rows = []
    for arm in study.arms:
        records = {name: record for name, record in study.records.items() if record["arm"] == arm.name}
        own = replace(study, records=records, scores=study.scores[study.scores["arm"] == arm.name])
        scored = ("signature", "chrf_signature", "sentences", "candidates", "selection", "decoding_steps", "early_stop")
        row = {"arm": arm.name} | {name: _scores(own, name) for name in scored}
        row |= {"data": _records(own, _data), "tokenizer": _records(own, _tokenizer)}
        row |= {"training": _records(own, _training), "parameters": _records(own, lambda r: r.get("parameters"))}
        row |= {"tuning": tuning(own), "device": _records(own, _device)}
        row |= {"torch": _records(own, _torch), "commit": _records(own, _commit), "command": _command(own)}
        rows.append(row)
    return pd.DataFrame(rows)


DECODING = {
    "candidates": "; candidates (lengths x noises)",
    "beam": "; beam",
    "decoding_steps": "; decoding steps K",
    "early_stop": ", of which left out at the end",
}
"""What scores.json says of decoding, where the method knows of it."""


def _decoding(study: StudyResults) -> str:
    """How texts were decoded, to be appended; what only some arms know is followed by their names."""
    facts = []
    for column, name in DECODING.items():
        rows = study.scores.dropna(subset=[column]) if column in study.scores else study.scores.iloc[:0]
        whose = [arm.label for arm in study.arms if (rows["arm"] == arm.name).any()]
        only = f" ({', '.join(whose)})" if len(whose) < len(study.arms) else ""
        facts += [f"{name}: {_scores(study, column)}{only}"] if whose else []
    return "".join(facts)


def _more_scores(study: StudyResults) -> str:
    """ROUGE's signature, the functions of own scores, and what the curves of BLEU stand on if it is something else."""
    columns = (
        "rouge_signature",
        "curves_signature",
        *(name for name in study.scores if name.startswith(OWN_SIGNATURE)),
    )
    names = {"rouge_signature": "ROUGE", "curves_signature": "BLEU in curves, which was not scored anew:"}
    known = [column for column in columns if column in study.scores]
    said = [f"{names.get(column, column.removeprefix(OWN_SIGNATURE))} {_scores(study, column)}" for column in known]
    return "".join(f"; {each}" for each in said)


def _floor(study: StudyResults) -> str:
    """What an output that never changes gets."""
    values = floors(study.scores, study.metric)
    if values.empty:
        return "unknown: runs of earlier versions do not say what one and the same output for every sentence gets"
    low, high = f"{values.min():.3g}", f"{values.max():.3g}"
    score = low if low == high else f"{low} to {high}"
    return f"{metric_name(study)} {score}, by the best of some outputs that are the same for every sentence"


def _command(study: StudyResults) -> str:
    return study.info.get("command") or _records(study, lambda r: r.get("command"))


def _text(study: StudyResults) -> list[str]:
    """What stands out in the text, where something does."""
    found = dict.fromkeys(sentence for record in study.records.values() for sentence in _said(record))
    return [f"Text: {'; '.join(found)}."] if found else []


def _said(record: dict[str, Any]) -> list[str]:
    found = _of(record, "data", "found")
    said = found.get("said") if isinstance(found, dict) else None
    return [str(sentence) for sentence in said] if isinstance(said, list) else []


def _tokenizer(record: dict[str, Any]) -> Any:
    return _of(record, "data", "tokenizer")


def _device(record: dict[str, Any]) -> str | None:
    """The device, and beside it the processor where the record (of a later version) names it."""
    device, processor = record.get("device"), record.get("processor")
    return f"{device} ({processor})" if device and processor else device


def _torch(record: dict[str, Any]) -> Any:
    return _of(record, "versions", "torch")


def _distinct(values: Iterable[Any]) -> str:
    """The distinct values that are known, in order of appearance; at most four are spelled out."""
    seen = list(dict.fromkeys(str(value) for value in values if value is not None and str(value) != "nan"))
    return "unknown" if not seen else " | ".join(seen[:4]) + (f" | {len(seen) - 4} more" if len(seen) > 4 else "")


def _scores(study: StudyResults, column: str) -> str:
    if column not in study.scores:
        return "unknown"
    values = study.scores[column].dropna()
    if values.empty:
        return "n/a"
    return _distinct(int(v) if isinstance(v, float) and v == int(v) else v for v in values)


def _records(study: StudyResults, read: Callable[[dict[str, Any]], Any]) -> str:
    return _distinct(read(record) for record in study.records.values())


def _of(record: dict[str, Any], section: str, key: str) -> Any:
    return (record.get(section) or {}).get(key)


def _commit(record: dict[str, Any]) -> str | None:
    """The first twelve digits, and whether files had been changed since."""
    commit = str(record.get("commit") or "")
    return commit[:12] + commit[40:] if commit else None


def _data(record: dict[str, Any]) -> str | None:
    data = record.get("data") or {}
    if not data:
        return None
    reasons = data.get("dropped") or {}
    dropped = "; ".join(f"{number} dropped ({why})" for why, number in reasons.items()) or "none dropped"
    pairs = "/".join(
        f"{data[key]:,}" for key in ("train_pairs", "valid_pairs", "test_pairs") if data.get(key) is not None
    )
    vocabulary = f", {data['vocab_size']:,} types" if data.get("vocab_size") else ""
    what = f"{data.get('name')} ({data.get('digest')}){_lineage(data.get('lineage'))}"
    return f"{what}, {pairs} train/valid/test pairs, {dropped}{vocabulary}"


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _lineage(lineage: Any) -> str:
    """', distilled by ... from ...' for a corpus that was made from another, back to the first."""
    if not _mapping(lineage):
        return ""
    source, teacher, writing = (_mapping(lineage.get(key)) for key in ("source", "teacher", "decoding"))
    facts = [f"test BLEU {teacher['bleu']:.2f}"] if isinstance(teacher.get("bleu"), int | float) else []
    facts += [f"beam {writing['beam']}"] if writing.get("beam") else []
    maker = f"teacher {teacher.get('hash')} ({', '.join(facts) or 'no score known'})"
    made_by = "distilled by" if lineage.get("made_by") == "distillation" else f"made ({lineage.get('made_by')}) by"
    return f", {made_by} {maker} from {source.get('name')} ({source.get('digest')}){_lineage(source.get('lineage'))}"


def _training(record: dict[str, Any]) -> str | None:
    config = record.get("config") or {}
    if seconds := config.get("training_seconds"):
        return f"{seconds:,g} s of training in batches of {config.get('batch_tokens')} tokens"
    updates = updates_of(record)
    return None if updates is None else f"{updates:,} updates of {config.get('batch_tokens')} tokens"


def updates_of(record: dict[str, Any]) -> int | None:
    """The updates that ended a run's training; None where its time did (option training_seconds), or nothing is
    known."""
    config = record.get("config") or {}
    return None if config.get("training_seconds") else config.get("updates")


def _parameters(record: dict[str, Any]) -> str | None:
    return f"{record['parameters']:,} parameters" if record.get("parameters") else None


def _seeds(study: StudyResults) -> str:
    """All seeds, whether arms differ in them, and which of them the effects rest on."""
    text = " ".join(str(seed) for seed in sorted(study.scores["seed"].unique()))
    said = []
    if len({frozenset(study.values(study.metric, arm.name)) for arm in study.arms}) > 1:
        said.append("not the same in every arm: a difference is over those that both arms have")
    if is_factorial(study) or study.groups:
        complete = " ".join(str(seed) for seed in complete_seeds(study)) or "none"
        said += [] if complete == text else [f"with a result in all arms, as effects need: {complete}"]
    return f"{text} ({'; '.join(said)})" if said else text


def tuning(study: StudyResults) -> str:
    """How the options of the arms were chosen."""
    trials = [_of(record, "tuning", "trials") or 0 for record in study.records.values()]
    if not any(trials):
        return study.info.get("tuning") or "none, in any arm"
    return (
        f"{min(trials)} to {max(trials)} trials per run"
        if min(trials) != max(trials)
        else f"{trials[0]} trials per run"
    )


def exceptions(study: StudyResults) -> list[str]:
    """Diverged and collapsed results, runs without a result, and the notes of loading."""
    odd = study.scores[study.scores["outcome"] != "ok"]
    lines = [
        f"{row.outcome.capitalize()}: {row.label}, seed {row.seed} (counted as a result)." for row in odd.itertuples()
    ]
    for row in study.failed.itertuples():
        who = f"{row.label}, seed {row.seed}" if row.seed >= 0 else row.run
        lines.append(f"No result: {who}: {row.reason}.")
    notes = (*study.notes, *unknown_claims(study), mixture_note(study))
    return lines + [f"Note: {note}." for note in notes if note]
