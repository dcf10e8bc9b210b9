"""One training loop: validation, the k best checkpoints, exact resume.

Everything random in a step is a function of (seed, step), and a batch is a function of (seed, step), so the state to
resume from is the weights, the optimizer's moments and the step. A run killed at any moment and resumed ends with the
same weights, bit for bit on a CPU.
"""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core import checkpoints, model_folder
from core.batches import Batch, BatchStream
from core.config import RunConfig, TrainingConfig
from core.difformer import Difformer
from core.diffusion import ForwardProcess
from core.distributed import ALONE, Ranks, in_step
from core.model_folder import Model
from core.objectives import Objective, denoising, errors, predict
from core.probes import embedding_spread
from core.randomness import mixed, training_draws

Log = Callable[[dict[str, Any]], None]
STATE = "state.safetensors"


@dataclass(frozen=True)
class Job:
    """What training needs: where to write, what to learn from, whom to tell.

    validate(model) -> {"val/...": number}, with "val/bleu" to choose checkpoints by. log(row) gets each row of
    metrics. Both are called from the loop and must not draw from torch's global generator. objective(model, config)
    makes what is learned from a batch. Of several ranks all call validate, and the first alone writes and logs.
    """

    config: RunConfig
    folder: Path
    stream: BatchStream
    validate: Callable[[Any], dict[str, float]]
    log: Log
    objective: Callable[[Any, RunConfig], Objective] = denoising
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
    """How training ended. diverged: the loss was not finite, and training stopped there."""

    steps: int
    tokens: int
    seconds: float
    averaged: int
    diverged: bool


def learning_rate(config: TrainingConfig, step: int) -> float:
    """Linear from warmup_init_lr to lr over the warm-up, then lr * sqrt(warmup / step); step counts from 1."""
    if step < config.warmup:
        return config.warmup_init_lr + (config.lr - config.warmup_init_lr) * step / config.warmup
    return config.lr * math.sqrt(max(config.warmup, 1) / max(step, 1))


def optimizer_for(model: Model, config: TrainingConfig) -> torch.optim.Optimizer:
    """AdamW over the parameters that learn."""
    learned = [p for p in model.parameters() if p.requires_grad]
    betas = (config.beta1, config.beta2)
    return torch.optim.AdamW(learned, lr=config.lr, betas=betas, weight_decay=config.weight_decay, fused=True)


def mixed_precision(config: TrainingConfig, device: torch.device) -> bool:
    """Whether to compute in bfloat16: where asked for, or where 'auto' finds a GPU that has it."""
    automatic = config.precision == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported()
    return automatic or config.precision == "bfloat16"


def autocast(config: TrainingConfig, device: torch.device) -> torch.autocast:
    """The context in which the network runs."""
    return torch.autocast(device.type, torch.bfloat16, enabled=mixed_precision(config, device))


def train(model: Model, job: Job) -> Outcome:
    """Train to config.training.updates, from the last checkpoint in the folder if there is one.

    Leaves the mean of the best checkpoints in model and in folder/model.safetensors.
    """
    loop = Loop(model, job)
    loop.run()
    averaged = finish(model, job, loop.state)
    return Outcome(loop.state.step, loop.state.tokens, loop.state.seconds, averaged, loop.diverged)


class Loop:
    """The loop and its state."""

    def __init__(self, model: Model, job: Job) -> None:
        self.model, self.job, self.training = model, job, job.config.training
        self.device = next(model.parameters()).device
        self.objective = job.objective(model, job.config)
        self.optimizer = optimizer_for(model, self.training)
        self.names = [name for name, p in model.named_parameters() if p.requires_grad]
        self.diverged = False
        self.state = self.resumed()
        job.ranks.check_same(self.state.step)
        self.saved_at = time.monotonic()

    def resumed(self) -> State:
        """The state of the last checkpoint, its tensors put back; or a fresh one."""
        path = self.job.folder / STATE
        if not path.exists():
            return State()
        tensors, facts = checkpoints.load(path)
        self.model.load_state_dict(checkpoints.unprefixed("model", tensors))
        checkpoints.restore_optimizer(self.optimizer, self.names, checkpoints.unprefixed("optimizer", tensors))
        best = [(score, step) for score, step in facts["best"]]
        return State(facts["step"], facts["tokens"], facts["seconds"], best)

    def save(self) -> None:
        """Write the resumable checkpoint."""
        self.saved_at = time.monotonic()
        if not self.job.ranks.lead:
            return
        tensors = checkpoints.prefixed("model", self.model.state_dict())
        moments = checkpoints.optimizer_tensors(self.optimizer, self.names)
        checkpoints.save(
            self.job.folder / STATE, tensors | checkpoints.prefixed("optimizer", moments), vars(self.state)
        )

    def run(self) -> None:
        """All remaining updates."""
        self.model.train()
        while self.state.step < self.training.updates and not self.diverged:
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
        ranks = self.job.ranks
        key = (self.state.step, *([ranks.rank] if ranks.rank else []))
        torch.manual_seed(mixed(self.job.config.seed, "dropout", *key))
        with autocast(self.training, self.device):
            loss, values = self.objective(batch, self.state.step)
        loss.backward()
        ranks.sum_gradients(self.model.parameters())
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.training.clip_norm, foreach=True)
        lr = learning_rate(self.training, self.state.step + 1)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return lambda: self.row(ranks.means({"loss": loss} | values()) | {"grad_norm": norm}) | {"train/lr": lr}

    def row(self, values: dict[str, Tensor]) -> dict[str, float]:
        """The row of metrics of the update just made."""
        row = {f"train/{name}": float(value.detach().float().mean()) for name, value in values.items()}
        self.diverged = not (math.isfinite(row["train/loss"]) and math.isfinite(row["train/grad_norm"]))
        return row

    def report(self, row: Callable[[], dict[str, float]], saving: bool) -> None:
        """Log, validate and save when it is time to; never a checkpoint of weights that are no numbers any more."""
        step, config = self.state.step, self.training
        last = step == config.updates
        validating = step % config.valid_every == 0 or last
        logging = step % config.log_every == 0 or last or step == 1
        if not (validating or saving or logging):
            return
        values = row()
        if logging or self.diverged:
            facts = {"train/step": step, "train/tokens": self.state.tokens, "train/seconds": self.state.seconds}
            self.job.log(facts | values | embedding_spread(self.model.embedding))
        if self.diverged:
            return
        if validating:
            self.validate()
        elif saving:
            self.save()

    def validate(self) -> None:
        """Validate, keep the checkpoint if it is among the best, save the state."""
        self.model.eval()
        scores = self.job.validate(self.model)
        self.model.train()
        self.job.log({"train/step": self.state.step} | scores)
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
            checkpoints.save(best_path(self.job.folder, self.state.step), self.model.state_dict(), scores)


def saved_step(folder: Path) -> int | None:
    """The step of the checkpoint that training in a folder would go on from; None if there is none."""
    state = folder / STATE
    return checkpoints.load(state)[1]["step"] if state.exists() else None


def best_path(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step stands if it is among the best."""
    return folder / f"best-{step:06d}.safetensors"


def finish(model: Model, job: Job, state: State) -> int:
    """Average the best checkpoints into model and model.safetensors; their number (0 = none: the last weights)."""
    job.ranks.wait()  # for the first rank to have written them
    paths = [best_path(job.folder, step) for _, step in state.best]
    if paths:
        model.load_state_dict(checkpoints.average(paths))
    if job.ranks.lead:
        model_folder.save_weights(job.folder, model, job.config, step=state.step, averaged=len(paths))
    return len(paths)


def validation_loss(
    model: Difformer, process: ForwardProcess, batches: Iterable[Batch], config: RunConfig
) -> dict[str, float]:
    """mse and nll of the validation set with dropout off; the same t and noise at every call."""
    device = next(model.parameters()).device
    sums = torch.zeros(3, device=device, dtype=torch.float64)
    with torch.no_grad(), autocast(config.training, device):
        for index, batch in enumerate(batches):
            shape = (*batch.target.shape, config.model.latent_dim)
            draws = training_draws(0, -1 - index, shape, process.steps, device)
            prediction = predict(model, process, batch, replace(draws, coin=False))
            mse, nll = errors(model, prediction, batch)
            sums += torch.stack([mse.sum(), nll.sum(), torch.tensor(len(nll), device=device)]).double()
    mse_sum, nll_sum, count = sums.tolist()
    return {"val/mse": mse_sum / count, "val/nll": nll_sum / count}
