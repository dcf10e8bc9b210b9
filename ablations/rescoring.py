"""Scores of finished runs made anew from samples.jsonl, and put in the place of the old ones."""

import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablations import records
from ablations.floor import constants, floor
from core import scores
from core.config import recorded
from core.errors import UserError
from core.run_folder import RUN, SAMPLES, SCORES, SEARCH, plain, read, replacing
from core.scoring.own import Own
from core.scoring.tokenizers import AUTO
from core.text.materials import prepare

OWN, OWN_SIGNATURE, CURVES = "own/", "own_signature/", "curves_signature"
"""In scores.json: the score of a user's function, the function, and the signature of the BLEUs that only decoding could
make anew (by decoding steps, in validation, in probes), where it is not that of the others."""
OF_SENTENCE = "sentence_"
TEXTS = ("source", "reference", "hypothesis")


@dataclass(frozen=True)
class Rescored:
    """New content of scores.json and samples.jsonl of a run; kept: why its floor is that of the outputs of before."""

    folder: Path
    before: dict[str, Any]
    found: dict[str, Any]
    rows: list[dict[str, Any]]
    kept: str

    @property
    def line(self) -> str:
        """What became of the scores, for people."""
        own = [f"{name[len(OWN) :]} {value:.4g}" for name, value in self.found.items() if name.startswith(OWN)]
        bleu = f"BLEU {self.before.get('bleu') or 0:.2f} -> {self.found['bleu']:.2f} ({self.found['signature']})"
        return ", ".join([f"{self.folder.name}: {bleu}", *own])


def finished(folder: Path) -> list[Path]:
    """The finished runs of a study's folder, or the one run; says on stderr which have no samples.

    Raises UserError if there is none.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; name that of a study (make: STUDY=)")
    folders = [folder] if (folder / RUN).exists() else sorted(path.parent for path in folder.glob(f"*/{RUN}"))
    done = [each for each in folders if records.read(each)["state"] == "finished" and (each / SCORES).exists()]
    found = [each for each in done if (each / SAMPLES).exists()]
    if not found and (folder / SEARCH).exists():
        study = folder.name.removesuffix("-search")
        raise UserError(
            f"{folder}: the trials of a search keep no texts; rescore STUDY={study} and STUDY={study}-tuned"
        )
    if not found:
        raise UserError(f"{folder}: none of its {len(folders)} runs is finished and has {SAMPLES}")
    for each in done:
        if each not in found:
            print(f"{each}: has no {SAMPLES}; its scores stay as they are", file=sys.stderr)
    return found


def rescored(folder: Path, tokenizer: str | None, own: Sequence[Own]) -> Rescored:
    """A run's scores, made anew. tokenizer: none = the one that the run's options name, else auto.

    Raises UserError for files that cannot be used, naming them, and for a function that fails.
    """
    before, rows = read(folder / SCORES), read(folder / SAMPLES)
    whole = [is_whole(row) for row in rows]
    if not isinstance(before, dict) or not rows or not all(whole):
        where = f"line {whole.index(False) + 1}" if False in whole else "as it is"
        raise UserError(f"{folder / SAMPLES}: cannot be scored ({where} is incomplete); nothing was changed")
    wanted = tokenizer or (records.read(folder).get("config") or {}).get("bleu_tokenizer", AUTO)
    hypotheses, sources = ([row[name] for row in rows] for name in ("hypothesis", "source"))
    references = [row.get("references") or [row["reference"]] for row in rows]
    made = scores.score(hypotheses, references, wanted)
    found = {name: value for name, value in before.items() if name != CURVES} | made
    chosen = scores.tokenizer_for(references, wanted)
    known = before.get("floor_outputs")
    made_anew, kept = outputs_for(folder)
    if outputs := made_anew or known:
        found |= {"floor_outputs": outputs} | floor(outputs, references, lambda h, r: scores.score(h, r, wanted))
    rows = [row | by_sentence(row, group, chosen) for row, group in zip(rows, references, strict=True)]
    for metric in own:
        try:
            value, each = metric.score(hypotheses, references, sources)
        except UserError as error:
            raise UserError(f"{error} on {folder}; nothing was changed") from error
        found |= {f"{OWN}{metric.name}": value, f"{OWN_SIGNATURE}{metric.name}": metric.spec}
        rows = [row | {f"{OWN}{metric.name}": one} for row, one in zip(rows, each, strict=True)] if each else rows
    curves = before.get(CURVES, before.get("signature"))
    found |= {CURVES: curves} if curves not in (None, made["signature"]) else {}
    return Rescored(folder, before, found, rows, kept if known else "")


def outputs_for(folder: Path) -> tuple[list[str], str]:
    """The outputs of a run's floor, made anew from the text that it was trained on; none if that is gone, and why."""
    record = records.read(folder)
    try:
        text = prepare(recorded(record.get("config") or {}).data)
    except UserError as error:
        return [], str(error)
    if text.corpus.digest != (record.get("data") or {}).get("digest"):
        return [], f"the text of {text.corpus.name} is another one now"
    return constants(text.train.target, text.tokenizer), ""


def is_whole(row: Any) -> bool:
    """Whether a row of samples.jsonl has what scores take."""
    if not isinstance(row, dict) or not all(isinstance(row.get(name), str) for name in TEXTS):
        return False
    several = row.get("references", [""])
    return isinstance(several, list) and bool(several) and all(isinstance(text, str) for text in several)


def by_sentence(row: dict[str, Any], references: Sequence[str], tokenizer: str) -> dict[str, Any]:
    """The scores of a sentence that its row of samples.jsonl has, made anew."""
    names = [name for name in scores.names() if name != "bleu" and f"{OF_SENTENCE}{name}" in row]
    found = {name: scores.of_sentence(name, row["hypothesis"], references, tokenizer) for name in names}
    found |= {"bleu": scores.sentence_bleu(row["hypothesis"], references, tokenizer)}
    return {f"{OF_SENTENCE}{name}": value for name, value in found.items()}


def replace(folder: Path, made: Sequence[Rescored]) -> None:
    """Write all of it beside the old files, and then put it in their place."""
    study = folder.parent if (folder / RUN).exists() else folder
    with records.exclusive(study / "sweep.lock"), ExitStack() as stack:
        for run in made:
            samples = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in run.rows)
            content = json.dumps(plain(run.found), indent=1, ensure_ascii=False, allow_nan=False)
            for name, text in ((SCORES, content), (SAMPLES, samples)):
                draft = stack.enter_context(replacing(run.folder / name))
                draft.write_text(text, encoding="utf-8")
