"""What the autoregressive teacher learns and writes: teacher forcing, its loss on held-out text, its translations."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from core.autoregressive import Autoregressive
from core.batches import Batch
from core.beam import decode
from core.config import RunConfig
from core.objectives import Objective, Values, token_terms
from core.tokenizer import PAD


def token_losses(model: Autoregressive, batch: Batch, smoothing: float) -> tuple[Tensor, Tensor]:
    """Label-smoothed cross-entropy and -log p of each target token but BOS, given those before it, each [N]."""
    source = model.encode(batch.source, batch.source_mask)
    given, wanted = batch.target[:, :-1], batch.target[:, 1:]
    real = wanted != PAD
    return token_terms(model, model.states(given, source)[real], wanted[real], smoothing)


def teacher_forcing(model: Autoregressive, config: RunConfig) -> Objective:
    """The mean label-smoothed cross-entropy of a batch; draws nothing but dropout."""

    def objective(batch: Batch, step: int) -> tuple[Tensor, Values]:
        token, nll = token_losses(model, batch, config.objective.label_smoothing)
        return token.mean(), lambda: {"token": token, "nll": nll}

    return objective


@torch.no_grad()
def held_out_nll(model: Autoregressive, batches: Iterable[Batch]) -> float:
    """Mean -log p per target token (BOS not counted) in nats, dropout off."""
    losses = torch.cat([token_losses(model, batch, 0.0)[1] for batch in batches])
    return float(losses.double().mean())


def texts(
    model: Autoregressive,
    batches: Iterable[tuple[list[int], Batch]],
    decode_ids: Callable[[list[int]], str],
    beam: int,
    length_penalty: float,
) -> dict[int, str]:
    """{index: what the teacher writes} for the sentences in batches, each on one line."""
    found = decode(model, batches, beam, length_penalty)
    return {index: " ".join(decode_ids(ids).splitlines()).strip() for index, ids in found.items()}
