"""The updates of a training, with rows of metrics, validations and checkpoints when they are due."""

import math
import time
from contextlib import nullcontext
from typing import Any

import torch

from core import checkpoints, model_folder
from core.distributed import in_step
from core.errors import TimeIsUp, UserError
from core.run_folder import METRICS, STATE, sync
from core.training.job import Job, State
from core.training.optimizer import MovingAverage, learning_rate, optimizer_for
from core.training.saved import best_path, last_state
from core.training.step import Update, shares
from core.training.step_modes import step_for


class Loop:
    """The loop and its state."""

    def __init__(self, network: Any, job: Job) -> None:
        self.network, self.job, self.training = network, job, job.config.training
        if job.ranks.size > 1 and job.method.adapts:
            name = job.config.method.name
            raise UserError(f"method {name} adapts as it trains, which is not shared between processes: run it on one")
        self.device = next(network.parameters()).device
        self.optimizer = optimizer_for(network, self.training)
        self.names = [name for name, p in network.named_parameters() if p.requires_grad]
        self.average = None if self.training.ema is None else MovingAverage(network, self.training.ema)
        self.diverged = False
        self.stopped: dict[str, float] | None = None
        self.state = self.restore()
        job.ranks.check_same(self.state.step)
        self.step = step_for(
            job.step, network, job.method, self.optimizer, job.config, job.ranks, job.stream, self.state.step
        )
        self.saved_at = time.monotonic()
        self.over = self.ends()

    def restore(self) -> State:
        """The state of the last checkpoint, its tensors put back; or a fresh one."""
        path = self.job.folder / STATE
        if (found := last_state(self.job.folder)) is None:
            return State()
        tensors, facts = found
        model_folder.load_weights(self.network, checkpoints.unprefixed("model", tensors), path)
        checkpoints.restore_optimizer(self.optimizer, self.names, checkpoints.unprefixed("optimizer", tensors))
        if self.average is not None:
            self.average.restore(checkpoints.unprefixed("average", tensors))
        best = [(score, step) for score, step in facts["best"]]
        return State(facts["step"], facts["tokens"], facts["seconds"], best)

    def save(self) -> None:
        """Write the resumable checkpoint."""
        self.saved_at = time.monotonic()
        if not self.job.ranks.lead:
            return
        if (self.job.folder / METRICS).exists():
            sync(self.job.folder / METRICS)  # no row up to this step may be lost, should the power be cut
        parts = {
            "model": self.network.state_dict(),
            "optimizer": checkpoints.optimizer_tensors(self.optimizer, self.names),
            "average": {} if self.average is None else self.average.mean,
        }
        tensors = {name: v for part, values in parts.items() for name, v in checkpoints.prefixed(part, values).items()}
        checkpoints.save(self.job.folder / STATE, tensors, vars(self.state))

    def run(self) -> None:
        """All remaining updates. The network is left with the moving average of its weights, if there is one."""
        self.network.train()
        with self.step.apart():
            self.advance()
        if self.average is not None:
            self.average.put(self.average.mean)

    def advance(self) -> None:
        """One after the other."""
        while not (self.over or self.diverged or self.stopped is not None):
            started = time.monotonic()
            with in_step():
                batch = self.job.stream.at(self.state.step)
                update = self.step(batch, self.state.step)
                if self.average is not None:
                    self.average.update()
                self.state.step += 1
                self.state.tokens += batch.target_tokens
                now, until = time.monotonic(), self.job.until
                leaving = until is not None and self.job.ranks.agreed(now > until)
                saving = leaving or self.job.ranks.agreed(now - self.saved_at > self.training.checkpoint_seconds)
                self.count(started)
                self.over = self.ends()
            if self.over or saving or self.due():
                waiting = time.monotonic()
                self.step.wait()
                self.count(waiting)
                self.report(update, saving)
            if leaving and not (self.over or self.diverged or self.stopped is not None):
                raise TimeIsUp(f"time is up after {self.done()}")

    def count(self, since: float) -> None:
        """Count the time since then, on the clock of time.monotonic, as time of training."""
        self.state.seconds += time.monotonic() - since

    def done(self) -> str:
        """How far the training is, in words."""
        step, seconds = self.state.step, self.training.training_seconds
        if seconds is None:
            return f"{step} of {self.training.updates} updates"
        return f"{step} updates in {self.state.seconds:.0f} of {seconds:g} s"

    def ends(self) -> bool:
        """Whether the training is over; of several ranks, whether it is for one.

        Raises UserError if updates would go on at a learning rate of 0.
        """
        seconds, step = self.training.training_seconds, self.state.step
        if seconds is None:
            return step >= self.training.updates
        over = self.job.ranks.agreed(self.state.seconds >= seconds)
        if not over and learning_rate(self.training, step + 1) == 0:
            raise UserError(
                f"option lr_schedule: linear is at 0 after updates = {self.training.updates:,}, before "
                f"training_seconds = {seconds:g} are over; raise updates, or take another schedule"
            )
        return over

    def due(self) -> bool:
        """Whether a row of metrics or a validation is."""
        step, config = self.state.step, self.training
        return step == 1 or step % config.log_every == 0 or step % config.valid_every == 0

    def row(self, update: Update) -> dict[str, float]:
        """The row of metrics of the update just made."""
        ranks = self.job.ranks
        with torch.no_grad():
            found = {"loss": update.loss, **shares(update.made.watched(), ranks)}
            totals = ranks.total(torch.stack([value.detach().float() for value in found.values()]))
        values = dict(zip(found, totals.tolist(), strict=True)) | {"grad_norm": float(update.norm)}
        lr = learning_rate(self.training, self.state.step)
        return {f"train/{name}": value for name, value in values.items()} | {"train/lr": lr}

    def report(self, update: Update, saving: bool) -> None:
        """Log, validate and save when it is time to; never a checkpoint of weights that are no numbers any more."""
        step, config = self.state.step, self.training
        validating = step % config.valid_every == 0 or self.over
        logging = step % config.log_every == 0 or self.over or step == 1
        values = self.row(update)
        self.diverged = not (math.isfinite(values["train/loss"]) and math.isfinite(values["train/grad_norm"]))
        if logging or self.diverged:
            facts = {"train/step": step, "train/tokens": self.state.tokens, "train/seconds": self.state.seconds}
            with torch.no_grad():
                watched = self.job.method.watch(self.network, self.job.stream.target_types)
            self.job.log(facts | values | watched)
        if self.diverged:
            return
        if validating:
            self.validate()
        elif saving:
            self.save()

    def validate(self) -> None:
        """Validate, keep the checkpoint if it is among the best, save the state."""
        with nullcontext() if self.average is None else self.average.instead():
            drop = self.judge()
        if self.stopped is not None:
            return
        self.save()
        for _, step in drop if self.job.ranks.lead else []:
            best_path(self.job.folder, step).unlink(missing_ok=True)

    def judge(self) -> list[tuple[float, int]]:
        """Validate the network as it is now, and keep it if it is among the best; which ones are not any more."""
        self.network.eval()
        scores = self.job.validate(self.network)
        self.network.train()
        self.job.log({"train/step": self.state.step} | scores)
        if self.job.ranks.told(self.job.stop(self.state.step, scores)):
            self.stopped = scores
            return []
        own = self.job.validated(scores), self.state.step
        ranked = sorted([*self.state.best, own], key=lambda pair: (-pair[0], -pair[1]))
        keep, drop = ranked[: self.training.keep_best], ranked[self.training.keep_best :]
        if own in keep:
            self.keep(scores)
        self.state.best = keep
        return drop

    def keep(self, scores: dict[str, float]) -> None:
        """Write the weights as one of the best."""
        if self.job.ranks.lead:
            checkpoints.save(best_path(self.job.folder, self.state.step), self.network.state_dict(), scores)
