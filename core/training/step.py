"""One update of a network: a batch's loss and its gradient, clipped, and the optimizer's step.

What is random in it is a function of (seed, step).
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch._dynamo.exc import TorchDynamoException

from core.config import RunConfig
from core.distributed import ALONE, Ranks
from core.methods.method import Loss, Method, Term
from core.networks.compiling import compiled
from core.precision import autocast
from core.randomness import mixed
from core.text.batches import Batch
from core.training.optimizer import learning_rate, set_learning_rate


@dataclass(frozen=True)
class Update:
    """What an update left: the loss (of several ranks: this one's share), the norm of the gradient, the terms.

    After a captured update they stand until the next one.
    """

    loss: Tensor
    norm: Tensor
    made: Loss


def shares(terms: dict[str, Term], ranks: Ranks) -> dict[str, Tensor]:
    """This rank's share of the mean of each term over all ranks' elements: over ranks they add up to the means."""
    if ranks.size == 1:
        return {name: term.mean() for name, term in terms.items()}
    counts = ranks.total(torch.stack([term.count().double() for term in terms.values()]))
    return {name: (term.sum() / count).float() for (name, term), count in zip(terms.items(), counts, strict=True)}


def reduced(loss: Loss, ranks: Ranks = ALONE) -> Tensor:
    """Sum over terms of weight * mean, or this rank's share of it."""
    terms = dict(loss.terms)
    weighted = [
        mean if terms[name].weight == 1.0 else terms[name].weight * mean for name, mean in shares(terms, ranks).items()
    ]
    total = weighted[0]
    for value in weighted[1:]:
        total = total + value
    return total


class Step:
    """An update, run as it is written."""

    def __init__(
        self,
        network: Any,
        method: Method[Any],
        optimizer: torch.optim.Optimizer,
        config: RunConfig,
        ranks: Ranks = ALONE,
        compiling: bool = False,
    ) -> None:
        self.network, self.method, self.optimizer, self.config, self.ranks = network, method, optimizer, config, ranks
        self.device = next(network.parameters()).device
        self.compiling = compiling
        self.dropout_key = 0

    def __call__(self, batch: Batch, step: int) -> Update:
        """The update of a step, counted from 0, with its batch."""
        seed, ranks = self.config.seed, self.ranks
        batch = batch.to(self.device)
        draws = self.method.draw(self.network, batch, seed, step)
        batch, draws = take_part(ranks, batch, draws)
        set_learning_rate(self.optimizer, learning_rate(self.config.training, step + 1))
        self.dropout_key = mixed(seed, "dropout", step, *([ranks.rank] if ranks.rank else []))
        torch.manual_seed(self.dropout_key)
        update, batch, draws = self.run(batch, draws)
        with torch.no_grad():
            self.method.adapt(self.network, batch, draws, update.made)
        return update

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Where the updates of a training are run: on the stream on which the others run, too."""
        yield

    def wait(self) -> None:
        """Until the device has done what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def run(self, batch: Batch, draws: Any) -> tuple[Update, Batch, Any]:
        """Update the network; also the batch and draws in the form in which it saw them."""
        return self.update(batch, draws), batch, draws

    def update(self, batch: Batch, draws: Any) -> Update:
        """The update; as it is written from then on, if the compiler cannot compile it."""
        try:
            return self.work(batch, draws)
        except TorchDynamoException as error:
            if not self.compiling:
                raise
            why = str(error).strip().partition("\n")[0]
            print(f"step compiled: torch.compile failed ({why}); it goes on without", file=sys.stderr)
            self.compiling = False
            self.optimizer.zero_grad(set_to_none=True)
            torch.manual_seed(self.dropout_key)
            return self.work(replace(batch), draws)

    def work(self, batch: Batch, draws: Any) -> Update:
        """The work of the device alone, which can be captured."""
        with autocast(self.config, self.device), compiled(self.compiling):
            made = self.method.loss(self.network, batch, draws)
            loss = reduced(made, self.ranks)
        loss.backward()
        self.ranks.sum_gradients(self.network.parameters())
        clip = self.config.training.clip_norm
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), clip, foreach=True)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return Update(loss.detach(), norm, made)


def take_part(ranks: Ranks, batch: Batch, draws: Any) -> tuple[Batch, Any]:
    """A rank's rows of a batch and of its draws."""
    if ranks.size == 1:
        return batch, draws
    rows = ranks.rows(len(batch.source))
    return Batch.padded(batch.source[rows], batch.target[rows]), draws.rows(rows)
