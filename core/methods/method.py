"""What the harness asks of a generative method: training, decoding, evaluation and records know methods by this.

A method is stateless: its options, and functions of a network. What learns, or adapts in training, is a parameter or
a buffer of the network, so checkpoints carry it and a resumed run goes on from it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from core.candidates import Candidates, Choice
from core.text.batches import Batch, Encoded


class Network(Protocol):
    """What a method's network (an nn.Module) says of itself: the number of types, and of positions."""

    vocab: int
    max_positions: int


class Draws(Protocol):
    """What a training step draws for its batch, each tensor with a row a sentence."""

    def rows(self, rows: slice) -> Self:
        """The draws of some rows alone."""

    def filled(self, rows: int, length: int) -> Self:
        """The draws of a batch filled up to so many rows, and target positions (core/text/shapes.py)."""


@dataclass(frozen=True)
class NoDraws:
    """The draws of a method that draws nothing."""

    def rows(self, rows: slice) -> Self:
        """The same."""
        return self

    def filled(self, rows: int, length: int) -> Self:
        """The same."""
        return self


@dataclass(frozen=True)
class Term:
    """One term of the objective, unreduced: values, and which of them count (mask, None = all).

    weight: of its mean in the loss. In a batch of a fixed shape there are elements that do not count.
    """

    values: Tensor
    mask: Tensor | None = None
    weight: float = 1.0

    def sum(self) -> Tensor:
        """The sum of the elements that count."""
        return (self.values if self.mask is None else torch.where(self.mask, self.values, 0.0)).sum()

    def count(self) -> Tensor:
        """How many they are."""
        return self.values.new_full((), self.values.numel()) if self.mask is None else self.mask.sum()

    def mean(self) -> Tensor:
        """Their mean."""
        return self.values.mean() if self.mask is None else self.sum() / self.count()


@dataclass(frozen=True)
class Loss:
    """The terms whose weighted means add up to the loss. watched: makes what is logged of the batch, by name,
    unreduced; called only when a row is due, under no_grad. Drawn over training: mse, token, nll, length."""

    terms: Mapping[str, Term]
    watched: Callable[[], dict[str, Term]]


OnStep = Callable[[float, Candidates], None]
"""(t, what the text would be now): called at each step of a decoding that goes by steps, with its time."""


class ProbeText(Protocol):
    """What a method's probes may look at: the first test sentences, and how a decoding of them scores."""

    @property
    def seed(self) -> int: ...

    @property
    def types(self) -> list[str]: ...

    @property
    def frequency(self) -> np.ndarray:
        """How often each type occurs in training targets, [V]."""

    @property
    def source_frequency(self) -> np.ndarray:
        """How often each type occurs in training sources, [V]."""

    @property
    def batches(self) -> list[Batch]: ...

    def bleu(self, decoding: Any) -> float:
        """BLEU of the sentences as this decoding writes them."""

    def bleu_by_step(self, decoding: Any) -> dict[float, float]:
        """{t: BLEU of what the text is at t} of one decoding with one candidate."""


def curves_of(
    text: ProbeText, times: Sequence[float], curves: Mapping[str, list[float]], along: Mapping[float, float]
) -> dict[str, Any]:
    """Of the arrays of probes.npz: the types, curves over t, and BLEU along a decoding (`bleu_by_step`)."""
    return {
        "types": text.types,
        "frequency": text.frequency,
        "t": times,
        **curves,
        "along_t": list(along),
        "along_bleu": list(along.values()),
    }


N = TypeVar("N", bound=nn.Module)


class Method(ABC, Generic[N]):
    """A generative method with its options. N: its network."""

    WEIGHTS_KEY: ClassVar[str] = "weights"
    """Mixed with the run's seed it gives the seed of the initial weights."""

    def __init__(self, options: Any) -> None:
        self.options = options

    # Learning

    @abstractmethod
    def build(self, vocab: int, max_positions: int) -> N:
        """A new network (see `Network`); its weights are drawn from torch's global generator."""

    def measure(self, network: N, train: Encoded) -> None:
        """Before the first update: what the network takes from the training text, such as lengths. It must be part of
        its state (a buffer, or extra state), so that checkpoints carry it."""

    def draw(self, network: N, batch: Batch, seed: int, step: int) -> Draws:
        """What a step draws for a batch: a function of (seed, step), and of what adapts in the network."""
        return NoDraws()

    @abstractmethod
    def loss(self, network: N, batch: Batch, draws: Any) -> Loss:
        """The terms of a batch. Pure: draws nothing but dropout, changes nothing, and waits for no tensor's value (no
        item, no nonzero), so that it may be captured."""

    def adapt(self, network: N, batch: Batch, draws: Any, loss: Loss) -> None:
        """After an update, under no_grad: bring buffers that learn from the terms up to date."""

    @property
    def adapts(self) -> bool:
        """Whether `adapt` does anything with these options: what it learns is not shared between processes."""
        return type(self).adapt is not Method.adapt

    def watch(self, network: N, types: Tensor) -> dict[str, float]:
        """What is logged of the network itself, as 'diag/...'. Figures show those of core/diffusion/probes.py.

        types: ids of those that occur in training targets, int64 [n].
        """
        return {}

    @abstractmethod
    def held_out(self, network: N, batches: Iterable[Batch]) -> dict[str, float]:
        """Losses on held-out text as 'val/...': dropout off, under no_grad; the same draws at every call."""

    # Writing

    @property
    def validation(self) -> Any:
        """The decoding that validates checkpoints. Not the run's own: runs that differ in decoding alone share their
        training, and so the choice among its checkpoints. Here the section's defaults."""
        decoding = getattr(self.options, "decoding", None)
        return None if decoding is None else type(decoding)()

    @abstractmethod
    def decode(self, network: N, batch: Batch, decoding: Any, seed: int, on_step: OnStep | None = None) -> Candidates:
        """Write the targets of a batch, whose own are not looked at; under no_grad. Same network, batch and seed: same
        tokens."""

    def count(self, decoding: Any) -> int:
        """C: candidates for each sentence."""
        return 1

    def choice(self, decoding: Any, bleu_tokenizer: str) -> Choice:
        """How one of a sentence's candidates is chosen; bleu_tokenizer: should BLEU choose."""
        return lambda texts, scores: 0

    def with_steps(self, decoding: Any, steps: int) -> Any | None:
        """The decoding with another number of steps; None where there is no such number."""
        return None

    def with_candidates(self, decoding: Any, count: int) -> Any:
        """The decoding with up to so many candidates, where it finds them anyway; here as it is."""
        return decoding

    def calls(self, decoding: Any) -> int | None:
        """Network calls of a decoding, if they are known before it."""
        return None

    def calls_for(self, decoding: Any, tokens: float) -> float | None:
        """Network calls that a text of so many tokens took, EOS included; None if nothing says how many."""
        return self.calls(decoding)

    def alone(self, decoding: Any) -> Any:
        """The decoding with a single candidate."""
        return decoding

    def facts(self, decoding: Any) -> dict[str, Any]:
        """What scores.json says of a decoding."""
        return {"candidates": "1"}

    # Diagnostics

    def probes(self, network: N, text: ProbeText) -> dict[str, Any]:
        """The arrays of probes.npz; a method may have none. A figure is drawn of the methods that have its arrays.

        types, frequency (in training targets), source_frequency, norm, norm_raw [V]: the embedding norms. t, mse, nll,
        accuracy, nearest [times]: the curves over t; nearest_F1: recovery at F = 1. fig5_t, oneshot_bleu; along_t,
        along_bleu: BLEU of one-shot predictions told each t, and of what the text is at each t of a decoding.
        """
        return {}
