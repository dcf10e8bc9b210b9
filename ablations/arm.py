"""One arm with one seed into its run folder: train, decode, score, probe.

`execute` does what is missing of a folder that the caller has claimed: the command (ablations/run.py) or a worker.
"""

import dataclasses
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ablations import evaluate, records, twins
from ablations.evaluate import Evaluator
from ablations.factors import FACTORS, Level
from ablations.materials import Materials, device_for, prepare
from ablations.place import Place
from ablations.studies import Arm
from core import corpus, model_folder, training
from core.batches import BatchStream
from core.config import DecodingConfig, RunConfig, flat
from core.difformer import Difformer
from core.diffusion import ForwardProcess
from core.distributed import ALONE, Ranks
from core.machine import settle
from core.objectives import denoising
from core.randomness import mixed
from core.training import Job, Outcome

VALIDATION = DecodingConfig()
"""How checkpoints are validated: the released decoding, so that arms that differ in decoding alone share training."""


def folder_of(config: RunConfig, arm: Arm, study: str, runs: Path, **fields: Any) -> Path:
    """Make (or find) the run folder of an arm with a seed; its record is pending if it is new."""
    values = flat(config)
    hash8 = records.identity(values, corpus.digest(config.data))
    folder = records.folder_for(runs, study, arm.name, config.seed, hash8)
    records.create(
        folder,
        study=study,
        arm=arm.name,
        label=arm.label,
        seed=config.seed,
        hash8=hash8,
        config=values,
        toggles=dict(arm.toggles),
        **fields,
    )
    return folder


def execute(
    config: RunConfig, folder: Path, tracker: records.Tracker, place: Place, ranks: Ranks = ALONE
) -> dict[str, Any]:
    """Run what is missing of a claimed run folder and finish it; returns its scores. Of several ranks the first does.

    Raises UserError for what the user can mend. The caller claims the folder before and marks failures.
    """
    device = ranks.device(device_for(place.device))
    settle(place.threads)
    started, cpu = time.monotonic(), time.process_time()
    materials = prepare(config.data)
    materials.tokenizer.save(folder / model_folder.TOKENIZER)
    model = new_model(config, materials, device)
    records.update(
        folder,
        **records.provenance(device),
        precision="bfloat16" if training.mixed_precision(config.training, device) else "float32",
        data=materials.facts(),
        parameters=sum(p.numel() for p in model.parameters()),
        ranks=ranks.size,
    )
    evaluator = Evaluator(materials, config, device, ranks)
    outcome = trained(model, config, folder, evaluator, tracker, elsewhere=True)
    found, cost = assess(model, evaluator, folder, outcome)
    wall, cpu = time.monotonic() - started, time.process_time() - cpu
    rate = outcome.tokens / outcome.seconds if outcome.seconds else None
    cost |= {"wall_s": wall, "cpu_s": cpu, "train_s": outcome.seconds, "train_tokens": outcome.tokens}
    cost["train_tokens_per_s"] = rate
    records.update(folder, cost=cost, outcome="diverged" if outcome.diverged else "ok")
    tracker.results(folder)
    records.finish(folder)
    return found


def accompany(config: RunConfig, folder: Path, place: Place, ranks: Ranks) -> None:
    """What the other ranks do beside `execute`: train along and decode their share, and write nothing."""
    device = ranks.device(device_for(place.device))
    settle(place.threads)
    materials = prepare(config.data)
    model = new_model(config, materials, device)
    evaluator = Evaluator(materials, config, device, ranks)
    ranks.wait()  # for the first one, which may have found the training done
    outcome = training.train(model, _job(config, folder, evaluator, lambda row: None))
    settled(model, outcome)
    evaluate.test_scores(evaluator, model)
    evaluate.one_shot_curves(evaluator, model)


def _job(config: RunConfig, folder: Path, evaluator: Evaluator, log: training.Log) -> Job:
    stream = BatchStream(evaluator.materials.train, config.training.batch_tokens, config.seed)
    learned = partial(denoising, ranks=evaluator.ranks)
    return Job(config, folder, stream, lambda model: validate(model, evaluator), log, learned, evaluator.ranks)


def new_model(config: RunConfig, materials: Materials, device: torch.device) -> Difformer:
    """A model with the seed's initial weights: the same for all arms whose shapes agree."""
    torch.manual_seed(mixed(config.seed, "weights"))
    vocab = len(materials.tokenizer)
    model = Difformer(config.model, vocab, config.data.max_length, config.diffusion.diffusion_steps)
    return model.to(device)


def trained(
    model: Difformer,
    config: RunConfig,
    folder: Path,
    evaluator: Evaluator,
    tracker: records.Tracker,
    elsewhere: bool = False,
) -> Outcome:
    """Train the model, or take the weights of a run that was trained just so; elsewhere: also of another study."""
    mine = records.training_identity(flat(config), corpus.digest(config.data))
    records.update(folder, training_hash=mine)
    with records.exclusive(folder.parent / f".training-{mine}.lock"):
        if (twin := twins.trained(folder, mine, elsewhere)) is not None:
            twins.adopt(twin, folder)
        with records.MetricsLog(folder / "metrics.jsonl", training.saved_step(folder), tracker.log) as log:
            evaluator.ranks.wait()
            return training.train(model, _job(config, folder, evaluator, log.log))


def validate(model: Difformer, evaluator: Evaluator) -> dict[str, float]:
    """mse, nll and BLEU on the validation set's first sentences."""
    config = evaluator.config
    process = ForwardProcess.build(config.diffusion).to(evaluator.device)
    batched = [batch for _, batch in evaluator.batched(evaluator.valid)]
    losses = training.validation_loss(model, process, batched, config)
    steps = min(VALIDATION.decoding_steps, config.diffusion.diffusion_steps)
    decoding = dataclasses.replace(VALIDATION, decoding_steps=steps, early_stop=steps // 4)
    return losses | {"val/bleu": evaluator.bleu(model, evaluator.valid, decoding)}


def settled(model: Difformer, outcome: Outcome) -> None:
    """Make a trained model fit for decoding, also one whose weights are no numbers any more."""
    model.eval()
    if outcome.diverged:
        for parameter in model.parameters():
            parameter.data.nan_to_num_(0.0, 0.0, 0.0)


def assess(
    model: Difformer, evaluator: Evaluator, folder: Path, outcome: Outcome
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write scores.json, samples.jsonl and probes.npz; returns the scores and what decoding cost.

    A diverged arm is decoded like any other: what it scores is its result.
    """
    settled(model, outcome)
    found, hypotheses, cost = evaluate.test_scores(evaluator, model)
    found |= {"checkpoints_averaged": outcome.averaged}
    evaluate.write_samples(folder / "samples.jsonl", evaluator, model, hypotheses)
    probes = evaluate.probes(evaluator, model)
    with records.full_disk(folder / "probes.npz"):
        np.savez_compressed(folder / "probes.npz", allow_pickle=False, **probes)
    records.write_json(folder / "scores.json", found)
    return found, cost


def single_arm(config: RunConfig) -> Arm:
    """The arm that a configuration stands for, by the levels of the three modules where it is at one."""
    values, toggles = flat(config), dict[str, Level]()
    for name in ("anchor_loss", "embedding_norm", "noise_factor"):
        toggles |= _level(name, FACTORS[name].levels, values)
    short = [FACTORS[name].short[level].removesuffix(".0") for name, level in toggles.items()]
    name = "+".join(short) or "custom"
    return Arm(name, " · ".join(short) or "custom", toggles, {})


def _level(name: str, levels: Mapping[Level, Mapping[str, Any]], values: Mapping[str, Any]) -> dict[str, Level]:
    at = [level for level, options in levels.items() if all(values[k] == v for k, v in options.items())]
    return {name: at[0]} if at else {}
