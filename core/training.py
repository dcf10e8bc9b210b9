"""One training loop: validation, the k best checkpoints, exact resume.

Everything random in a step is a function of (seed, step), and a batch is a function of (seed, step), so the state to
resume from is the weights, the optimizer's moments and the step. A run killed at any moment and resumed ends with the
same weights, bit for bit on a CPU.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core import checkpoints, model_folder
from core.config import RunConfig, TrainingConfig
from core.distributed import ALONE, Ranks, in_step
from core.errors import UserError
from core.methods.method import Loss, Method, Reduction
from core.randomness import mixed
from core.run_folder import METRICS, STATE, sync
from core.saved_training import best_path, last_state
from core.text.batches import Batch, BatchStream

Log = Callable[[dict[str, Any]], None]
Stop = Callable[[int, dict[str, float]], bool]
"""(step, scores of a validation) -> whether to end the training here."""


def never(step: int, scores: dict[str, float]) -> bool:
    """Trains to the end."""
    return False


@dataclass(frozen=True)
class Job:
    """What training needs: the method, where to write, what to learn from, whom to tell.

    validate(network) -> {"val/...": number}, with "val/bleu" to choose checkpoints by. log(row) gets each row of
    metrics. Both are called from the loop and must not draw from torch's global generator. stop(step, scores) may end
    the training after a validation. Of several ranks all call validate, log and stop; what the first one's stop says
    holds for all, and the first one alone writes.
    """

    config: RunConfig
    method: Method[Any]
    folder: Path
    stream: BatchStream
    validate: Callable[[Any], dict[str, float]]
    log: Log
    stop: Stop = never
    ranks: Ranks = ALONE


@dataclass
class State:
    """What a resumed run needs to know. best: [score, step] of the kept checkpoints, best first."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    best: list[tuple[float, int]] = field(default_factory=list)


@dataclass(frozen=True)
class Outcome:
    """How training ended. diverged: the loss was not finite as a row was due, and training ended there.

    stopped: job.stop ended it, after the validation with these scores; no weights are kept then.
    """

    steps: int
    tokens: int
    seconds: float
    averaged: int
    diverged: bool
    stopped: dict[str, float] | None = None


def learning_rate(config: TrainingConfig, step: int) -> float:
    """Linear from warmup_init_lr to lr over the warm-up, then lr * sqrt(warmup / step); step counts from 1."""
    if step < config.warmup:
        return config.warmup_init_lr + (config.lr - config.warmup_init_lr) * step / config.warmup
    return config.lr * math.sqrt(max(config.warmup, 1) / max(step, 1))


def optimizer_for(network: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """AdamW over the parameters that learn."""
    learned = [p for p in network.parameters() if p.requires_grad]
    betas = (config.beta1, config.beta2)
    return torch.optim.AdamW(learned, lr=config.lr, betas=betas, weight_decay=config.weight_decay, fused=True)


def mixed_precision(config: TrainingConfig, device: torch.device) -> bool:
    """Whether to compute in bfloat16: where asked for, or where 'auto' finds a GPU that has it."""
    automatic = config.precision == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported()
    return automatic or config.precision == "bfloat16"


def autocast(config: TrainingConfig, device: torch.device) -> torch.autocast:
    """The context in which the network runs."""
    return torch.autocast(device.type, torch.bfloat16, enabled=mixed_precision(config, device))


def train(network: Any, job: Job) -> Outcome:
    """Train to config.training.updates, from the last checkpoint in the folder if there is one.

    Leaves the mean of the best checkpoints in network and in folder/model.safetensors.
    """
    loop = Loop(network, job)
    loop.run()
    state = loop.state
    try:
        averaged = finish(network, job, state) if loop.stopped is None else 0
    except checkpoints.Damaged as error:
        raise UserError(f"{error}; start the same command again, and this training begins anew") from error
    return Outcome(state.step, state.tokens, state.seconds, averaged, loop.diverged, loop.stopped)


class Loop:
    """The loop and its state."""

    def __init__(self, network: Any, job: Job) -> None:
        self.network, self.job, self.training = network, job, job.config.training
        if job.ranks.size > 1 and type(job.method).adapt is not Method.adapt:
            name = job.config.method.name
            raise UserError(f"method {name} adapts as it trains, which is not shared between processes: run it on one")
        self.device = next(network.parameters()).device
        self.optimizer = optimizer_for(network, self.training)
        self.names = [name for name, p in network.named_parameters() if p.requires_grad]
        self.diverged = False
        self.stopped: dict[str, float] | None = None
        self.state = self.restore()
        job.ranks.check_same(self.state.step)
        self.saved_at = time.monotonic()

    def restore(self) -> State:
        """The state of the last checkpoint, its tensors put back; or a fresh one."""
        path = self.job.folder / STATE
        if (found := last_state(self.job.folder)) is None:
            return State()
        tensors, facts = found
        model_folder.load_weights(self.network, checkpoints.unprefixed("model", tensors), path)
        checkpoints.restore_optimizer(self.optimizer, self.names, checkpoints.unprefixed("optimizer", tensors))
        best = [(score, step) for score, step in facts["best"]]
        return State(facts["step"], facts["tokens"], facts["seconds"], best)

    def save(self) -> None:
        """Write the resumable checkpoint."""
        self.saved_at = time.monotonic()
        if not self.job.ranks.lead:
            return
        if (self.job.folder / METRICS).exists():
            sync(self.job.folder / METRICS)  # no row up to this step may be lost, should the power be cut
        tensors = checkpoints.prefixed("model", self.network.state_dict())
        moments = checkpoints.optimizer_tensors(self.optimizer, self.names)
        checkpoints.save(
            self.job.folder / STATE, tensors | checkpoints.prefixed("optimizer", moments), vars(self.state)
        )

    def run(self) -> None:
        """All remaining updates."""
        self.network.train()
        while self.state.step < self.training.updates and not self.diverged and self.stopped is None:
            started = time.monotonic()
            with in_step():
                batch = self.job.stream.at(self.state.step).to(self.device)
                row = self.update(batch)
                self.state.step += 1
                self.state.tokens += batch.target_tokens
                self.state.seconds += time.monotonic() - started
                due = time.monotonic() - self.saved_at > self.training.checkpoint_seconds
                saving = self.job.ranks.agreed(due)
            self.report(row, saving)

    def update(self, batch: Batch) -> Callable[[], dict[str, float]]:
        """One optimizer step; returns how to make its row of metrics, should it be logged."""
        ranks, seed, step = self.job.ranks, self.job.config.seed, self.state.step
        torch.manual_seed(mixed(seed, "dropout", step, *([ranks.rank] if ranks.rank else [])))
        draws = self.job.method.draw(self.network, batch, seed, step)
        part, draws, reduction = take_part(ranks, batch, draws)
        with autocast(self.training, self.device):
            made = self.job.method.loss(self.network, part, draws)
            loss = reduction.loss(made.terms)
        loss.backward()
        ranks.sum_gradients(self.network.parameters())
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.training.clip_norm, foreach=True)
        lr = learning_rate(self.training, step + 1)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            self.job.method.adapt(self.network, part, draws, made)
        return lambda: (
            self.row(ranks.means({"loss": loss} | watched_values(made)) | {"grad_norm": norm}) | {"train/lr": lr}
        )

    def row(self, values: dict[str, Tensor]) -> dict[str, float]:
        """The row of metrics of the update just made."""
        return {f"train/{name}": float(value.detach().float().mean()) for name, value in values.items()}

    def report(self, row: Callable[[], dict[str, float]], saving: bool) -> None:
        """Log, validate and save when it is time to; never a checkpoint of weights that are no numbers any more."""
        step, config = self.state.step, self.training
        last = step == config.updates
        validating = step % config.valid_every == 0 or last
        logging = step % config.log_every == 0 or last or step == 1
        if not (validating or saving or logging):
            return
        values = row()
        self.diverged = not (math.isfinite(values["train/loss"]) and math.isfinite(values["train/grad_norm"]))
        if logging or self.diverged:
            facts = {"train/step": step, "train/tokens": self.state.tokens, "train/seconds": self.state.seconds}
            with torch.no_grad():
                watched = self.job.method.watch(self.network)
            self.job.log(facts | values | watched)
        if self.diverged:
            return
        if validating:
            self.validate()
        elif saving:
            self.save()

    def validate(self) -> None:
        """Validate, keep the checkpoint if it is among the best, save the state."""
        self.network.eval()
        scores = self.job.validate(self.network)
        self.network.train()
        self.job.log({"train/step": self.state.step} | scores)
        if self.job.ranks.told(self.job.stop(self.state.step, scores)):
            self.stopped = scores
            return
        ranked = sorted(
            [*self.state.best, (scores["val/bleu"], self.state.step)], key=lambda pair: (-pair[0], -pair[1])
        )
        keep, drop = ranked[: self.training.keep_best], ranked[self.training.keep_best :]
        if (scores["val/bleu"], self.state.step) in keep:
            self.keep(scores)
        self.state.best = keep
        self.save()
        for _, step in drop if self.job.ranks.lead else []:
            best_path(self.job.folder, step).unlink(missing_ok=True)

    def keep(self, scores: dict[str, float]) -> None:
        """Write the weights as one of the best."""
        if self.job.ranks.lead:
            checkpoints.save(best_path(self.job.folder, self.state.step), self.network.state_dict(), scores)


@torch.no_grad()
def watched_values(made: Loss) -> dict[str, Tensor]:
    """What is logged of a batch."""
    return made.watched()


def take_part(ranks: Ranks, batch: Batch, draws: Any) -> tuple[Batch, Any, Reduction]:
    """A rank's rows of a batch and of its draws, and how the means of its terms are weighed in those of the whole."""
    if ranks.size == 1:
        return batch, draws, Reduction(batch, batch)
    rows = ranks.rows(len(batch.source))
    part = Batch.padded(batch.source[rows], batch.target[rows])
    return part, draws.rows(rows), Reduction(part, batch, lambda mine, whole: ranks.weight(mine, whole, rows))


def finish(network: Any, job: Job, state: State) -> int:
    """Average the best checkpoints into network and model.safetensors; their number (0 = none: the last weights).

    Buffers, which may be counts, or a schedule that adapted, are those of the best one.
    """
    job.ranks.wait()  # for the first rank to have written them
    paths = [best_path(job.folder, step) for _, step in state.best]
    if paths:
        learned = {name for name, _ in network.named_parameters()}
        averaged = {name: value for name, value in checkpoints.average(paths).items() if name in learned}
        model_folder.load_weights(network, checkpoints.load(paths[0])[0] | averaged, paths[0])
    if job.ranks.lead:
        model_folder.save_weights(job.folder, network, job.config, step=state.step, averaged=len(paths))
    return len(paths)


def held_out(network: Any, method: Method[Any], batches: list[Batch], config: TrainingConfig) -> dict[str, float]:
    """Losses on held-out text, in the precision of training."""
    device = next(network.parameters()).device
    with torch.no_grad(), autocast(config, device):
        return method.held_out(network, batches)
