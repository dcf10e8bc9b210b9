"""From a trained model to scores.json, samples.jsonl and probes.npz."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ablations.materials import Materials, Split
from core import scores
from core.batches import Batch, decode_batches
from core.config import DecodingConfig, RunConfig
from core.difformer import Difformer
from core.diffusion import ForwardProcess, SpacedProcess
from core.distributed import ALONE, Ranks
from core.generation import candidates, chooser, read_out, translate
from core.probes import nearest_recovery, one_shot, per_step
from core.samplers import OnStep

SCORE_STEPS = (2, 5, 10, 20, 50)
"""Decoding steps K of the score-against-steps curve; a quarter of them is left out, as in the released 5 of 20."""
PROBE_TIMES = 16
PROBE_SENTENCES = 100
TRAJECTORIES = 5
DECODE_TOKENS = 4096


class Evaluator:
    """Decodes splits with one model. Batches are made once and shared by all decodings; ranks share the work."""

    def __init__(self, materials: Materials, config: RunConfig, device: torch.device, ranks: Ranks = ALONE) -> None:
        self.materials, self.config, self.device, self.ranks = materials, config, device, ranks
        self.test, self.valid = materials.test, materials.valid.head(config.training.valid_sentences)
        self.test_head = materials.test.head(PROBE_SENTENCES)
        self.batches: dict[int, list[tuple[list[int], Batch]]] = {}

    def batched(self, split: Split) -> list[tuple[list[int], Batch]]:
        """Decoding batches of a split that this evaluator holds."""
        if id(split) not in self.batches:
            count = self.config.decoding.length_candidates * self.config.decoding.noise_candidates
            made = decode_batches(split.encoded, DECODE_TOKENS // count)
            self.batches[id(split)] = [(indices, batch.to(self.device)) for indices, batch in made]
        return self.batches[id(split)]

    def texts(self, model: Difformer, split: Split, decoding: DecodingConfig) -> list[str]:
        """The translation of each sentence. Batches are decoded each by itself, so by any rank to the same texts."""
        process = SpacedProcess.build(self.config.diffusion, decoding)
        batched, choose = self.ranks.share(self.batched(split)), chooser(decoding)
        decode, seed = self.materials.tokenizer.decode, self.config.seed
        texts = translate(model, process, batched, decoding, decode, choose, seed)
        indices = sorted(index for indices, _ in batched for index in indices)
        found = self.ranks.merged(dict(zip(indices, texts, strict=True)))
        return [found[index] for index in sorted(found)]

    def bleu(self, model: Difformer, split: Split, decoding: DecodingConfig) -> float:
        """BLEU of a split."""
        return scores.bleu(self.texts(model, split, decoding), split.references)


def test_scores(evaluator: Evaluator, model: Difformer) -> tuple[dict[str, Any], list[str], dict[str, float]]:
    """scores.json, the hypotheses, and what decoding the test set cost."""
    config, test = evaluator.config, evaluator.test
    evaluator.batched(test)
    wall, cpu = time.monotonic(), time.process_time()
    hypotheses = evaluator.texts(model, test, config.decoding)
    seconds, cpu = time.monotonic() - wall, time.process_time() - cpu
    found = scores.score(hypotheses, test.references)
    found |= {
        "candidates": f"{config.decoding.length_candidates}x{config.decoding.noise_candidates}",
        "selection": config.decoding.selection,
        "decoding_steps": config.decoding.decoding_steps,
        "early_stop": config.decoding.early_stop,
        "by_steps": by_steps(evaluator, model),
    }
    return found, hypotheses, {"decode_s": seconds, "decode_sentences_per_cpu_s": len(hypotheses) / max(cpu, 1e-9)}


def by_steps(evaluator: Evaluator, model: Difformer) -> list[dict[str, float]]:
    """BLEU and seconds on the first test sentences for several K."""
    rows = []
    evaluator.batched(evaluator.test_head)
    for K in (K for K in SCORE_STEPS if evaluator.config.diffusion.diffusion_steps >= K):
        decoding = replace(evaluator.config.decoding, decoding_steps=K, early_stop=K // 4)
        started = time.monotonic()
        bleu = evaluator.bleu(model, evaluator.test_head, decoding)
        spent = time.monotonic() - started
        sentences = len(evaluator.test_head.pairs)
        rows.append({"steps": K, "calls": K - K // 4, "bleu": bleu, "seconds": spent, "sentences": sentences})
    return rows


def write_samples(path: Path, evaluator: Evaluator, model: Difformer, hypotheses: list[str]) -> None:
    """samples.jsonl: source, reference, hypothesis of each test sentence, the first few with their decoding."""
    paths = trajectories(evaluator, model)
    with open(path, "w", encoding="utf-8") as file:
        for index, ((source, reference), hypothesis) in enumerate(zip(evaluator.test.pairs, hypotheses, strict=True)):
            row: dict[str, Any] = {"id": index, "source": source, "reference": reference, "hypothesis": hypothesis}
            row["sentence_bleu"] = scores.sentence_bleu(hypothesis, reference)
            if index in paths:
                row["trajectory"] = paths[index]
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def one_candidate(evaluator: Evaluator, **changes: Any) -> DecodingConfig:
    """The run's decoding with a single candidate, and with other changes."""
    return replace(evaluator.config.decoding, length_candidates=1, noise_candidates=1, **changes)


def step_by_step(
    evaluator: Evaluator, model: Difformer, batch: Batch, decoding: DecodingConfig
) -> list[tuple[int, list[list[int]]]]:
    """t and the token ids that z_0_hat stands for, a list a candidate, at each step of a batch's decoding."""
    steps: list[tuple[int, list[list[int]]]] = []

    def with_mask(mask: Tensor) -> OnStep:
        def on_step(*, t: int, z_t: Tensor, z_0_hat: Tensor) -> None:
            steps.append((t, read_out(model, z_0_hat, mask).ids()))

        return on_step

    process = SpacedProcess.build(evaluator.config.diffusion, decoding)
    candidates(model, process, batch, decoding, evaluator.config.seed, with_mask)
    return steps


def trajectories(evaluator: Evaluator, model: Difformer) -> dict[int, list[dict[str, Any]]]:
    """For the first test sentences: what the text looks like at each t of the decoding."""
    decoding, decode = one_candidate(evaluator), evaluator.materials.tokenizer.decode
    found: dict[int, list[dict[str, Any]]] = {}
    for indices, batch in decode_batches(evaluator.test_head.head(TRAJECTORIES).encoded, DECODE_TOKENS):
        steps = step_by_step(evaluator, model, batch.to(evaluator.device), decoding)
        for row, index in enumerate(indices):
            found[index] = [{"t": t, "text": decode(ids[row])} for t, ids in steps]
    return found


def probes(evaluator: Evaluator, model: Difformer) -> dict[str, np.ndarray]:
    """The arrays of probes.npz."""
    materials, config = evaluator.materials, evaluator.config
    times = probe_times(config.diffusion.diffusion_steps)
    batched = [batch for _, batch in evaluator.batched(evaluator.test_head)]
    process = ForwardProcess.build(config.diffusion).to(evaluator.device)
    without = ForwardProcess.build(replace(config.diffusion, noise_factor=1.0)).to(evaluator.device)
    space = model.embedding
    with torch.no_grad():
        norm = space.all_z_0().norm(dim=-1).cpu().numpy()
        norm_raw = (space.scale * space.table).norm(dim=-1).cpu().numpy()
    found: dict[str, Any] = {
        "types": np.array(materials.tokenizer.types),
        "frequency": materials.train.counts(len(materials.tokenizer)),
        "norm": norm,
        "norm_raw": norm_raw,
        "t": np.array(times),
        **per_step(model, process, batched, times, seed=config.seed),
        "nearest_F1": nearest_recovery(model, without, batched, times, seed=config.seed),
        **one_shot_curves(evaluator, model),
        **along_curves(evaluator, model),
    }
    return {name: np.asarray(value) for name, value in found.items()}


def probe_times(T: int) -> list[int]:
    """The t at which is probed, from 0 to T - 1."""
    return [round(u * (T - 1)) for u in np.linspace(0, 1, PROBE_TIMES)]


def one_shot_curves(evaluator: Evaluator, model: Difformer) -> dict[str, list[float]]:
    """BLEU of the one-shot prediction from pure noise, told each t (v2 Fig. 5, dashed)."""
    T = evaluator.config.diffusion.diffusion_steps
    times = probe_times(T)
    decoding = one_candidate(evaluator)
    bleu = [evaluator.bleu(model, evaluator.test_head, one_shot(decoding, t, T)) for t in times]
    return {"fig5_t": [float(t) for t in times], "oneshot_bleu": bleu}


def along_curves(evaluator: Evaluator, model: Difformer) -> dict[str, list[float]]:
    """BLEU of z_0_hat at each t of one generation run, all K steps taken (v2 Fig. 5, solid)."""
    decoding, decode = one_candidate(evaluator, early_stop=0), evaluator.materials.tokenizer.decode
    texts: dict[int, dict[int, str]] = {}
    for indices, batch in evaluator.batched(evaluator.test_head):
        for t, ids in step_by_step(evaluator, model, batch, decoding):
            texts.setdefault(t, {}).update(zip(indices, map(decode, ids), strict=True))
    truth = evaluator.test_head.references
    curve = {t: scores.bleu([found[i] for i in sorted(found)], truth) for t, found in texts.items()}
    return {"along_t": [float(t) for t in curve], "along_bleu": list(curve.values())}
