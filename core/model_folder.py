"""A model that can be used: model.safetensors (weights, and in its metadata the options) and tokenizer.json.

Run folders and converted released checkpoints are such folders.
"""

from pathlib import Path
from typing import Any

import torch

from core import checkpoints
from core.autoregressive import Autoregressive
from core.checkpoints import Tensors
from core.config import RunConfig, flat, with_values
from core.difformer import Difformer
from core.errors import UserError
from core.tokenizer import Tokenizer

Model = Difformer | Autoregressive
KINDS = {Difformer.__name__: "a Difformer", Autoregressive.__name__: "the teacher of a distillation"}
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
    """A Difformer in evaluation mode, its options and its tokenizer. Raises UserError if the folder holds none."""
    tensors, facts, config = read(folder, Difformer)
    model = Difformer(config.model, facts["vocab"], facts["max_positions"], config.diffusion.diffusion_steps)
    model.load_state_dict(tensors)
    return model.to(device).eval(), config, Tokenizer.load(folder / TOKENIZER)


def load_teacher(folder: Path, device: torch.device) -> tuple[Autoregressive, RunConfig, Tokenizer]:
    """The teacher of a distillation in the same way."""
    tensors, facts, config = read(folder, Autoregressive)
    model = Autoregressive(config.model, facts["vocab"], facts["max_positions"])
    model.load_state_dict(tensors)
    return model.to(device).eval(), config, Tokenizer.load(folder / TOKENIZER)


def read(folder: Path, kind: type[Model]) -> tuple[Tensors, dict[str, Any], RunConfig]:
    """Weights, facts and options. Raises UserError if they are not those of a model of this kind."""
    tensors, facts = checkpoints.load(folder / WEIGHTS)
    if "config" not in facts:
        raise UserError(f"{folder / WEIGHTS}: holds weights but not the options they belong to")
    found = facts.get("kind", Difformer.__name__)  # the first weights of ours named no kind
    if found != kind.__name__:
        raise UserError(f"{folder / WEIGHTS}: is {KINDS.get(found, found)}, not {KINDS[kind.__name__]}")
    return tensors, facts, with_values(RunConfig(), facts["config"])
