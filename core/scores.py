"""Scores of hypotheses, with what makes them comparable; as a command, those of files:

    python -m core.scores HYPOTHESES --reference REFERENCES [--reference ...] [--bleu_tokenizer zh] [--json]

A sentence a line, UTF-8 (.gz too); of several references an empty line says that there is none.

All scores are 0..100 and are taken on the text as given: BLEU tokenises it again, so text that was tokenised before,
such as IWSLT14 as distributed, yields a tokenised BLEU. The signatures belong beside the numbers.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

from sacrebleu.metrics import BLEU, CHRF

from core.errors import UserError, command
from core.options import nearest
from core.scoring import tokenizers
from core.scoring.bleu import ORDERS as ORDERS
from core.scoring.bleu import bleu_of as bleu_of
from core.scoring.bleu import mbr_choice as mbr_choice
from core.scoring.bleu import sentence_bleu as sentence_bleu
from core.scoring.rouge import rouge
from core.scoring.rouge import signature as rouge_signature
from core.scoring.tokenizers import AUTO

References = Sequence[str] | Sequence[Sequence[str]]
"""One reference a sentence, or several."""


def score(hypotheses: Sequence[str], references: References, tokenizer: str = AUTO) -> dict[str, Any]:
    """The fields of scores.json that texts alone decide.

    bleu, chrf: corpus scores by sacreBLEU with its defaults, BLEU's tokenizer aside; signature, chrf_signature:
    sacreBLEU's own. tokenizer: one of sacreBLEU's; auto: by the script of the references.
    rouge1, rouge2, rougeL: mean over sentences of the F-measure, without stemming (Porter's is English only; texts may
    be in any language), by rouge-score over Unicode words; several references: the best; None: n/a, the references
    have no words. brevity_penalty: BLEU's, 0..1. length_ratio: hypothesis over reference length in BLEU tokens.
    sentences: number.
    Empty hypotheses are scored like any other. Raises UserError for no sentences, unequal numbers, no reference.
    """
    grouped = _grouped(hypotheses, references)
    streams = _streams(grouped)
    bleu, chrf = _bleu_for(grouped, tokenizer), CHRF()
    found = bleu.corpus_score(hypotheses, streams)
    counts = {len(group) for group in grouped}
    return {
        "bleu": found.score,
        "chrf": chrf.corpus_score(hypotheses, streams).score,
        **rouge(hypotheses, grouped),
        "brevity_penalty": found.bp,
        "length_ratio": found.ratio,
        "signature": str(bleu.get_signature()),
        "chrf_signature": str(chrf.get_signature()),
        "rouge_signature": rouge_signature(counts.pop() if len(counts) == 1 else -1),
        "sentences": len(hypotheses),
    }


def bleu(hypotheses: Sequence[str], references: References, tokenizer: str = AUTO) -> float:
    """Corpus BLEU alone, as in `score`."""
    grouped = _grouped(hypotheses, references)
    return float(_bleu_for(grouped, tokenizer).corpus_score(hypotheses, _streams(grouped)).score)


def value(name: str, hypotheses: Sequence[str], references: References, tokenizer: str = AUTO) -> float:
    """One of the scores. Raises UserError where it is n/a."""
    if name == "bleu":
        return bleu(hypotheses, references, tokenizer)
    found = score(hypotheses, references, tokenizer)[name]
    if found is None:
        raise UserError(f"option metric: {name} is n/a for this text: its references have no words; use bleu or chrf")
    return float(found)


def of_sentence(name: str, hypothesis: str, references: Sequence[str], tokenizer: str = AUTO) -> float | None:
    """One of the scores for one sentence; None where it is n/a."""
    found: float | None = score([hypothesis], [references], tokenizer)[name]
    return found


@cache
def names() -> tuple[str, ...]:
    """The scores that a run can be judged by."""
    return tuple(name for name, found in score(["a b c d"], ["a b c d"]).items() if isinstance(found, float))


def check_name(name: str) -> None:
    """Raises UserError, naming the nearest, on a name that no score has."""
    if name not in names():
        raise UserError(f"option metric: there is no score {name!r}.{nearest(name, names())}")


def tokenizer_for(references: References, tokenizer: str = AUTO) -> str:
    """The name of sacreBLEU's tokenizer that `score` takes for these references."""
    texts = [[group] if isinstance(group, str) else group for group in references]
    return tokenizers.choose(tokenizer, list(chain.from_iterable(texts))).name


def _bleu_for(grouped: list[list[str]], tokenizer: str) -> BLEU:
    """BLEU with a tokenizer. Where no reference has four tokens, what is right would score 0: there orders count only
    as far as hypotheses have them (sacreBLEU's effective order; the signature says so)."""
    name = tokenizer_for(grouped, tokenizer)
    split = tokenizers.tokenize(name)
    long = any(len(split(text).split()) >= ORDERS for text in chain.from_iterable(grouped))
    return tokenizers.metric(name, effective_order=not long)


def _grouped(hypotheses: Sequence[str], references: References) -> list[list[str]]:
    """The references of each sentence; UserError where they do not match the hypotheses."""
    if not hypotheses:
        raise UserError("nothing to score: there are no hypotheses; is the test set empty?")
    if len(hypotheses) != len(references):
        raise UserError(
            f"cannot score {len(hypotheses)} hypotheses against {len(references)} references: one line each"
        )
    grouped = [[group] if isinstance(group, str) else list(group) for group in references]
    if [] in grouped:
        raise UserError(f"cannot score: sentence {grouped.index([]) + 1} has no reference")
    return grouped


def _streams(grouped: list[list[str]]) -> list[list[Any]]:
    """References as sacreBLEU takes them: all first ones, all second ones (None where there is none), ..."""
    most = max(map(len, grouped))
    return [[group[i] if i < len(group) else None for group in grouped] for i in range(most)]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m core.scores", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("hypotheses", type=Path, help="file of hypotheses")
    made.add_argument(
        "--reference", type=Path, action="append", required=True, help="file of references; may be given again"
    )
    choices = [AUTO, *tokenizers.NAMES]
    made.add_argument("--bleu_tokenizer", default=AUTO, choices=choices, help="BLEU's tokenizer (default: auto)")
    made.add_argument("--json", action="store_true", help="print one JSON object")
    return made


def of_files(hypotheses: Path, references: Sequence[Path], tokenizer: str = AUTO) -> dict[str, Any]:
    """The scores of files. Raises UserError naming file and line for whatever is wrong with them."""
    from core.text.corpus import read_lines

    texts, streams = read_lines(hypotheses), [read_lines(path) for path in references]
    for path, lines in zip(references, streams, strict=True):
        if len(lines) != len(texts):
            raise UserError(f"{path} has {len(lines)} lines, {hypotheses} has {len(texts)}: one for each, line by line")
    grouped = [[text for text in group if text.strip()] for group in zip(*streams, strict=True)]
    if [] in grouped:
        raise UserError(f"{references[0]}, line {grouped.index([]) + 1} is empty, and no other reference has that line")
    return score(texts, grouped, tokenizer)


def table(found: dict[str, Any]) -> str:
    """Scores and signatures for people, a line each."""
    shown = [("BLEU", "bleu", "signature"), ("chrF", "chrf", "chrf_signature")]
    shown += [(f"ROUGE-{name[-1]}", name, "rouge_signature") for name in ("rouge1", "rouge2", "rougeL")]
    lines = [
        f"{title:8} {'n/a' if found[name] is None else format(found[name], '.2f'):>6}  {found[signature]}"
        for title, name, signature in shown
    ]
    rest = f"{found['sentences']:,} sentences, brevity penalty {found['brevity_penalty']:.3f}, "
    return "\n".join([*lines, f"{rest}length ratio {found['length_ratio']:.3f}"])


@command
def main() -> int:
    """Score files."""
    options = parser().parse_args()
    found = of_files(options.hypotheses, options.reference, options.bleu_tokenizer)
    print(json.dumps(found, indent=1) if options.json else table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
