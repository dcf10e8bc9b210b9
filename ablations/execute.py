"""One arm with one seed into its run folder: train, decode, score, probe.

`execute` does what is missing of a folder that the caller has claimed: the command (ablations/run.py) or a worker. Of
several ranks all go through the same stages; the first one alone writes (`Writer`).
"""

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ablations import evaluate, records, shared_training
from ablations.factors import FACTORS, Level
from ablations.metrics_log import MetricsLog
from ablations.place import Place
from ablations.provenance import provenance
from ablations.show_training import ShownTraining
from ablations.studies import Arm
from core import run_folder, training, watching
from core.config import RunConfig, all_options, flat
from core.distributed import ALONE, Ranks
from core.evaluator import Evaluator, new_network
from core.machine import configure
from core.methods import DEFAULT
from core.methods.method import Method
from core.precision import mixed_precision
from core.run_folder import METRICS, PROBES, SAMPLES, SCORES, TOKENIZER, replacing, write_json
from core.text import corpus
from core.text.batches import BatchStream
from core.text.materials import Materials, device_for, prepare
from core.training.job import Job, Log, Outcome, Stop, never
from core.training.saved import saved_step, warn


def folder_of(config: RunConfig, arm: Arm, study: str, runs: Path, **fields: Any) -> Path:
    """Make (or find) the run folder of an arm with a seed; its record is pending if it is new."""
    values = flat(config)
    hash8 = records.identity(values, corpus.digest(config.data))
    folder = run_folder.path_of(runs, study, arm.name, config.seed, hash8)
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


@dataclass(frozen=True)
class Writer:
    """Writes into a run folder, if this process is the one that does."""

    folder: Path
    lead: bool = True

    def update(self, **fields: Any) -> None:
        """Set some fields of run.json."""
        if self.lead:
            records.update(self.folder, **fields)

    def write_json(self, name: str, content: Any) -> None:
        """Replace a JSON file."""
        if self.lead:
            write_json(self.folder / name, content)

    def write_text(self, name: str, text: str) -> None:
        """Replace a text file."""
        if self.lead:
            with replacing(self.folder / name) as draft:
                draft.write_text(text, encoding="utf-8")

    def write_arrays(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Replace a file of arrays; none is written where there are none."""
        if self.lead and arrays:
            with replacing(self.folder / name) as draft, open(draft, "wb") as file:
                np.savez_compressed(file, allow_pickle=False, **arrays)


@dataclass
class Execution:
    """A run under way: what its stages share."""

    config: RunConfig
    folder: Path
    tracker: records.Tracker
    materials: Materials
    evaluator: Evaluator
    method: Method[Any]
    network: Any
    write: Writer
    place: Place

    @classmethod
    def begin(
        cls, config: RunConfig, folder: Path, tracker: records.Tracker, place: Place, ranks: Ranks = ALONE
    ) -> "Execution":
        """Bring the text, make the network, and note where this happens."""
        device = ranks.device(device_for(place.device))
        configure(place.threads, place.deterministic)
        watching.stage("preparing the text")
        materials, write = prepare(config.data), Writer(folder, ranks.lead)
        evaluator = Evaluator(materials, config, device, ranks, place.step)
        network = new_network(config, evaluator.method, materials, device)
        if ranks.lead:
            materials.tokenizer.save(folder / TOKENIZER)
        write.update(
            **provenance(device),
            precision="bfloat16" if mixed_precision(config, device) else "float32",
            data=materials.facts(),
            parameters=sum(p.numel() for p in network.parameters()),
            ranks=ranks.size,
        )
        return cls(config, folder, tracker, materials, evaluator, evaluator.method, network, write, place)

    def say(self, sentence: str) -> None:
        """Tell the user on standard error, and keep it in the record's `notes`."""
        warn(sentence)
        self.write.update(notes=[*records.read(self.folder).get("notes", []), sentence])

    def train(self, stop: Stop = never, elsewhere: bool = False) -> Outcome:
        """Train the network, or take the weights of a run that was trained just so; elsewhere: also of another study.

        It is then fit for decoding, also if its weights are no numbers any more.
        """
        ranks, mine = self.evaluator.ranks, records.training_identity(flat(self.config), self.materials.corpus.digest)
        self.write.update(training_hash=mine)
        with contextlib.ExitStack() as stack:
            log: Log = ignore
            if ranks.lead:
                stack.enter_context(records.exclusive(self.folder.parent / f".training-{mine}.lock"))
                shared_training.take_over(self.folder, mine, elsewhere, self.say)
                step = saved_step(self.folder, self.say)
                written = stack.enter_context(MetricsLog(self.folder / METRICS, step, self.tracker.log))
                log = ShownTraining(self.config.training, step).after(written.log)
            ranks.wait()
            stream = BatchStream(self.materials.train, self.config.training.batch_tokens, self.config.seed)
            evaluator = self.evaluator
            parts = self.config, self.method, self.folder, stream, evaluator.validate, log, stop, ranks
            job = Job(*parts, bleu_tokenizer=evaluator.bleu_tokenizer, step=self.place.step, until=self.place.until)
            outcome = training.train(self.network, job)
        make_decodable(self.network, outcome)
        return outcome

    def assess(self, outcome: Outcome) -> tuple[dict[str, Any], dict[str, Any]]:
        """Write scores.json, samples.jsonl and probes.npz; returns the scores and what decoding cost.

        A diverged arm is decoded like any other: what it scores is its result. Of runs of a study that share a training
        the one that was trained is probed; what others have decoded alike is taken from them.
        """
        alone = self.evaluator.ranks.size == 1  # several must all find the same
        curve = evaluate.known_curve(shared_training.finished(self.folder) if alone else ())
        found, hypotheses, cost = evaluate.score_test(self.evaluator, self.network, curve)
        found |= {"checkpoints_averaged": outcome.averaged, **outcome.validated}
        self.write.write_text(SAMPLES, evaluate.samples(self.evaluator, self.network, hypotheses))
        if not shared_training.within_study(self.folder):
            self.write.write_arrays(PROBES, evaluate.probe(self.evaluator, self.network))
        self.write.write_json(SCORES, found)
        return found, cost


def ignore(row: dict[str, Any]) -> None:
    """A log that keeps nothing."""


def execute(
    config: RunConfig, folder: Path, tracker: records.Tracker, place: Place, ranks: Ranks = ALONE
) -> dict[str, Any]:
    """Run what is missing of a claimed run folder and finish it; returns its scores.

    Raises UserError for what the user can mend. The caller claims the folder before and marks failures.
    """
    started, cpu = time.monotonic(), time.process_time()
    run = Execution.begin(config, folder, tracker, place, ranks)
    outcome = run.train(elsewhere=True)
    found, cost = run.assess(outcome)
    wall, cpu = time.monotonic() - started, time.process_time() - cpu
    rate = outcome.tokens / outcome.seconds if outcome.seconds else None
    cost |= {"wall_s": wall, "cpu_s": cpu, "train_s": outcome.seconds, "train_tokens": outcome.tokens}
    cost["train_tokens_per_s"] = rate
    run.write.update(cost=cost, outcome="diverged" if outcome.diverged else "ok")
    if ranks.lead:
        tracker.results(folder)
        records.finish(folder)
    return found


def make_decodable(network: Any, outcome: Outcome) -> None:
    """Evaluation mode; weights that are no numbers any more become 0."""
    network.eval()
    if outcome.diverged:
        for value in (*network.parameters(), *network.buffers()):
            value.data.nan_to_num_(0.0, 0.0, 0.0)


def single_arm(config: RunConfig) -> Arm:
    """The arm that a configuration stands for: its method, unless that is the default one, and the levels of the three
    modules where it is at one."""
    values, toggles = all_options(config), dict[str, Level]()
    for name in ("anchor_loss", "embedding_norm", "noise_factor"):
        toggles |= _level(name, FACTORS[name].levels, values)
    short = [FACTORS[name].short[level].removesuffix(".0") for name, level in toggles.items()]
    short = short if config.method.name == DEFAULT else [config.method.name, *short]
    return Arm("+".join(short) or "custom", " · ".join(short) or "custom", toggles, {})


def _level(name: str, levels: Mapping[Level, Mapping[str, Any]], values: Mapping[str, Any]) -> dict[str, Level]:
    at = [level for level, options in levels.items() if all(values.get(k) == v for k, v in options.items())]
    return {name: at[0]} if at else {}
