"""From a trained model to scores.json, samples.jsonl and probes.npz."""

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ablations import records
from ablations.floor import constants, floor
from core import run_folder, scores
from core.config import recorded
from core.evaluator import Evaluator
from core.methods import method_for
from core.model import DECODE_TOKENS
from core.run_folder import SCORES
from core.text.batches import Batch, decode_batches
from core.watching import stage

SCORE_STEPS = (2, 5, 10, 20, 50)
"""Decoding steps K of the score-against-steps curve, for methods that have them."""
TRAJECTORIES = 5
Row = dict[str, float | int | None]
Curve = dict[Any, Row]
"""Points of the score-against-steps curve: decoding -> row of by_steps."""


def score_test(
    evaluator: Evaluator, network: Any, curve: Curve | None = None
) -> tuple[dict[str, Any], list[str], dict[str, float]]:
    """scores.json, the hypotheses, and what decoding the test set cost. curve: as of `score_steps`."""
    test, decoding = evaluator.test, evaluator.decoding
    evaluator.batched(test)
    stage("decoding the test set")
    wall, cpu = time.monotonic(), time.process_time()
    hypotheses = evaluator.texts(network, test, decoding)
    seconds, cpu = time.monotonic() - wall, time.process_time() - cpu
    found = scores.score(hypotheses, test.references, evaluator.bleu_tokenizer) | evaluator.method.facts(decoding)
    tokens = sum(len(ids) + 1 for ids in evaluator.materials.tokenizer.encode_many(hypotheses)) / len(hypotheses)
    found |= {"network_calls": evaluator.method.calls_for(decoding, tokens)}
    outputs = constants(evaluator.materials.train.target, evaluator.materials.tokenizer)
    found |= {"floor_outputs": outputs}
    found |= floor(outputs, test.references, lambda h, r: scores.score(h, r, evaluator.bleu_tokenizer))
    if rows := score_steps(evaluator, network, curve or {}):
        found["by_steps"] = rows
    return found, hypotheses, {"decode_s": seconds, "decode_sentences_per_cpu_s": len(hypotheses) / max(cpu, 1e-9)}


def known_curve(twins: Iterable[Path]) -> Curve:
    """The rows of by_steps of runs that have the same training, by the decoding that each row is of."""
    found: Curve = {}
    for twin in twins:
        config = recorded(records.read(twin)["config"])
        method, decoding = method_for(config.method), getattr(config.method, "decoding", None)
        scored = run_folder.try_read(twin / SCORES)[0] or {}
        for row in scored.get("by_steps") or () if decoding else ():
            found[method.with_steps(decoding, row["steps"])] = row
    return found


def score_steps(evaluator: Evaluator, network: Any, known: Curve) -> list[Row]:
    """BLEU and seconds of decoding on the first test sentences for several K; none for a method without steps.

    known: rows that need not be computed again, by their decoding.
    """
    rows: list[Row] = []
    evaluator.batched(evaluator.test_head)
    for K in SCORE_STEPS:
        decoding = evaluator.method.with_steps(evaluator.decoding, K)
        if decoding is None:
            continue
        if decoding in known:
            rows.append(known[decoding])
            continue
        stage(f"decoding with {K} steps")
        started = time.monotonic()
        texts = evaluator.texts(network, evaluator.test_head, decoding)
        spent, sentences = time.monotonic() - started, len(evaluator.test_head.pairs)
        bleu = evaluator.value("bleu", evaluator.test_head.references, texts)
        calls = evaluator.method.calls(decoding)
        rows.append({"steps": K, "calls": calls, "bleu": bleu, "seconds": spent, "sentences": sentences})
    return rows


def samples(evaluator: Evaluator, network: Any, hypotheses: list[str]) -> str:
    """samples.jsonl: source, reference (all of them where there are several), hypothesis of each test sentence, the
    first few with their decoding."""
    first = decode_batches(evaluator.test_head.head(TRAJECTORIES).encoded, DECODE_TOKENS)
    stage("writing samples")
    steps = evaluator.texts_by_step(network, first, evaluator.decoding)
    lines = []
    test = evaluator.test
    for index, (source, reference) in enumerate(test.pairs):
        row: dict[str, Any] = {"id": index, "source": source, "reference": reference, "hypothesis": hypotheses[index]}
        row |= {"references": test.several[index]} if test.several else {}
        own = hypotheses[index], test.references[index], evaluator.bleu_tokenizer
        row["sentence_bleu"] = scores.sentence_bleu(*own)
        if evaluator.metric not in ("bleu", "chrf"):  # those of a test set are made of counts
            row[f"sentence_{evaluator.metric}"] = scores.of_sentence(evaluator.metric, *own)
        if trajectory := [{"t": t, "text": texts[index]} for t, texts in steps.items() if index in texts]:
            row["trajectory"] = trajectory
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    return "".join(lines)


@dataclass(frozen=True)
class ProbedText:
    """The first test sentences, as a method's probes may look at them (core.methods.method.ProbeText)."""

    evaluator: Evaluator
    network: Any

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.evaluator.config.seed

    @property
    def types(self) -> list[str]:
        """All types of the vocabulary, [V]."""
        return self.evaluator.materials.tokenizer.types

    @property
    def frequency(self) -> np.ndarray:
        """How often each type occurs in training targets, [V]."""
        return self.evaluator.materials.train.target.counts(len(self.evaluator.materials.tokenizer))

    @property
    def source_frequency(self) -> np.ndarray:
        """How often each type occurs in training sources, [V]."""
        return self.evaluator.materials.train.source.counts(len(self.evaluator.materials.tokenizer))

    @property
    def batches(self) -> list[Batch]:
        """The sentences in batches."""
        return [batch for _, batch in self.evaluator.batched(self.evaluator.test_head)]

    def bleu(self, decoding: Any) -> float:
        """BLEU as this decoding writes them."""
        return self.evaluator.bleu(self.network, self.evaluator.test_head, decoding)

    def bleu_by_step(self, decoding: Any) -> dict[float, float]:
        """{t: BLEU of what the text is at t} of one decoding with one candidate; a sentence that ended before stays."""
        head = self.evaluator.test_head
        steps = self.evaluator.texts_by_step(self.network, self.evaluator.batched(head), decoding)
        now, found = dict[int, str](), dict[float, float]()
        for t, texts in sorted(steps.items(), reverse=True):
            now |= texts
            if len(now) == len(head.references):
                found[t] = self.evaluator.value("bleu", head.references, [now[i] for i in sorted(now)])
        return found


def probe(evaluator: Evaluator, network: Any) -> Mapping[str, np.ndarray]:
    """The arrays of probes.npz; none for a method without probes."""
    stage("probing")
    found = evaluator.method.probes(network, ProbedText(evaluator, network))
    return {name: np.asarray(value) for name, value in found.items()}
