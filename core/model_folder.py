"""A model that can be used: model.safetensors (weights, and in its metadata the options) and tokenizer.json.

Run folders and converted released checkpoints are such folders.
"""

from pathlib import Path

import torch

from core import checkpoints
from core.autoregressive import Autoregressive
from core.config import RunConfig, flat, with_values
from core.difformer import Difformer
from core.errors import UserError
from core.tokenizer import Tokenizer

Model = Difformer | Autoregressive
WEIGHTS, TOKENIZER = "model.safetensors", "tokenizer.json"


def save_weights(folder: Path, model: Model, config: RunConfig, **facts: object) -> None:
    """Write the weights with what is needed to build the model again, and more facts if there are any."""
    built = {
        "kind": type(model).__name__,
        "config": flat(config),
        "vocab": model.vocab,
        "max_positions": model.max_positions,
    }
    checkpoints.save(folder / WEIGHTS, model.state_dict(), built | facts)


def load(folder: Path, device: torch.device) -> tuple[Difformer, RunConfig, Tokenizer]:
    """The model (in evaluation mode), its options and its tokenizer. Raises UserError if the folder holds none."""
    tensors, facts = checkpoints.load(folder / WEIGHTS)
    if "config" not in facts:
        raise UserError(f"{folder / WEIGHTS}: holds weights but not the options they belong to")
    if facts.get("kind", Difformer.__name__) != Difformer.__name__:
        raise UserError(f"{folder / WEIGHTS}: is the teacher of a distillation, not a Difformer")
    config = with_values(RunConfig(), facts["config"])
    model = Difformer(config.model, facts["vocab"], facts["max_positions"], config.diffusion.diffusion_steps)
    model.load_state_dict(tensors)
    return model.to(device).eval(), config, Tokenizer.load(folder / TOKENIZER)
