"""The cross-entropy of tokens against an embedding table."""

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from core.networks.compiling import compilable
from core.networks.kernels import log_normaliser


class Table(Protocol):
    """What has the table of an output layer."""

    def output(self) -> Tensor:
        """[V, d_e]."""

    def factors(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Two factors whose product is the logits, for z [N, d_e]."""


class Embeds(Protocol):
    """A model with an embedding space."""

    @property
    def embedding(self) -> Table: ...


@compilable
def token_terms(model: Embeds, z: Tensor, y: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
    """Label-smoothed cross-entropy and plain -log p(y | z), each [N], for z [N, d_e] and tokens y [N].

    (1 - s) nll + s mean_V(-log p) = logsumexp - (1 - s) z E_y - s z mean(E): one pass over the [N, V] logits. In
    float32 throughout: logits of 32 rounded to bfloat16 are off by up to 0.1 nat.
    """
    z, table = model.embedding.factors(z.float())
    with torch.autocast(z.device.type, enabled=False):
        normaliser = log_normaliser(z, table)
        correct = (z * functional.embedding(y, table)).sum(-1)
        smoothed = (1.0 - smoothing) * correct + smoothing * (z @ table.mean(0))
    return normaliser - smoothed, normaliser - correct
