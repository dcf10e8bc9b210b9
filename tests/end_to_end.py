"""Small methods of diffusion learned end to end, and batches for them."""

from typing import Any

import torch
from torch import Tensor

from core.checks import check
from core.config import RunConfig, with_values
from core.methods import method_for
from core.text.batches import Batch
from core.text.tokenizer import BOS, EOS, PAD

SIZE = {"model_dim": 16, "latent_dim": 8, "ffn_dim": 32, "encoder_layers": 1, "decoder_layers": 1, "dropout": 0.0}
BOTH = ["diffuseq", "diffusion_lm"]


def method(name: str, **values: Any) -> Any:
    """A small one with these options."""
    chosen = with_values(RunConfig(), {"method": name, **SIZE, **values})
    check(chosen)
    return method_for(chosen.method)


def sentences(sources: list[int], targets: list[int]) -> Batch:
    """Pairs of so many tokens a side, beside EOS and BOS."""
    count = iter(range(4, 10_000))

    def rows(lengths: list[int], before: list[int]) -> Tensor:
        made = [torch.tensor([*before, *(next(count) % 36 + 4 for _ in range(n)), EOS]) for n in lengths]
        return torch.nn.utils.rnn.pad_sequence(made, batch_first=True, padding_value=PAD)

    return Batch.padded(rows(sources, []), rows(targets, [BOS]))
