"""A model that can be used: model.safetensors (weights, and in its metadata the options) and tokenizer.json.

Run folders and converted released checkpoints are such folders.
"""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from core import checkpoints, methods
from core.checkpoints import Tensors
from core.checks import check
from core.config import RunConfig, all_options, flat, recorded, with_values
from core.errors import UserError
from core.model import Model
from core.networks.replays import replays_on
from core.run_folder import DELETED, RUN, TOKENIZER, WEIGHTS, try_read
from core.scoring.tokenizers import USUAL
from core.text.tokenizer import Tokenizer

MOST_TIMES, ALWAYS = 100, 10_000_000
"""A network has at most so many times the numbers of the weights made for it, and so many more."""


def save_weights(folder: Path, network: Any, config: RunConfig, **facts: object) -> None:
    """Write the weights with what is needed to build the network again, and more facts if there are any."""
    built = {
        "method": config.method.name,
        "config": flat(config),
        "vocab": network.vocab,
        "max_positions": network.max_positions,
    }
    checkpoints.save(folder / WEIGHTS, network.state_dict(), built | facts)


def load(folder: Path, device: torch.device) -> Model:
    """The model of a folder, on a device. Raises UserError if the folder holds none, or one whose training diverged."""
    tensors, facts = read_weights(folder)
    if not all(bool(value.isfinite().all()) for value in tensors.values()):
        raise UserError(f"{folder / WEIGHTS}: its weights are no numbers any more (the training diverged)")
    if not isinstance(facts, dict) or not {"config", "vocab", "max_positions"} <= facts.keys():
        raise UserError(f"{folder / WEIGHTS}: holds weights but not the options they belong to")
    try:
        config = config_of(facts)
        check(config)
    except (UserError, TypeError, ValueError) as error:
        raise UserError(f"{folder / WEIGHTS}: its options are none that a run can have ({error})") from error
    check_size(config, facts["vocab"], facts["max_positions"], tensors, folder / WEIGHTS)
    method = methods.method_for(config.method)
    network = method.build(facts["vocab"], facts["max_positions"])
    load_weights(network, tensors, folder / WEIGHTS)
    tokenizer = Tokenizer.load(folder / TOKENIZER)
    if len(tokenizer) != facts["vocab"]:
        types = f"{len(tokenizer)} types, {WEIGHTS} beside it has {facts['vocab']}"
        raise UserError(f"{folder / TOKENIZER}: {types}; the two are not of one model")
    words = facts.get("bleu_tokenizer", USUAL)
    return Model(method, network.to(device).eval(), config, tokenizer, words, replays_on(device))


def check_size(config: RunConfig, vocab: Any, max_positions: Any, tensors: Tensors, source: Path | str) -> None:
    """Raises UserError if options ask for a network of far more numbers than the weights hold, before it is built."""
    if not all(type(value) is int and value > 0 for value in (vocab, max_positions)):
        raise UserError(f"{source}: vocabulary and positions must be whole numbers above 0")
    values = {"encoder_layers": 0, "decoder_layers": 0, "model_dim": 1} | all_options(config)
    wide = ("model_dim", "latent_dim", "ffn_dim", "decoder_ffn_dim")
    width, layers = max(values.get(name) or 1 for name in wide), values["encoder_layers"] + values["decoder_layers"]
    asked = (layers * values["model_dim"] + vocab + max_positions) * width + values.get("diffusion_steps", 0)
    held = sum(value.numel() for value in tensors.values())
    if layers > len(tensors) or asked > MOST_TIMES * held + ALWAYS:
        said = {"vocabulary": vocab, "positions": max_positions} | {
            name: values[name]
            for name in (*wide, "encoder_layers", "decoder_layers", "diffusion_steps")
            if name in values
        }
        listed = ", ".join(f"{name} {value}" for name, value in said.items())
        raise UserError(f"{source}: weights do not fit the options: {held:,} numbers, far fewer than for {listed}")


def read_weights(folder: Path) -> tuple[Tensors, dict[str, Any]]:
    """Tensors and facts of a folder's weights.

    Raises UserError, with the way to have them again, if they are not as they were written, or not there: a run whose
    record says that they were deleted on purpose stays finished without them.
    """
    path, again = folder / WEIGHTS, "make it again"
    record = try_read(folder / RUN)[0]
    if isinstance(record, dict):
        again = f"delete {folder} and start its command again to have them made anew"
    if path.exists():
        try:
            return checkpoints.load(path)
        except UserError as error:
            raise UserError(f"{error}; {again}") from error
    if not isinstance(record, dict):
        raise UserError(f"{path}: no such checkpoint; name a run folder, or what core.official --convert wrote")
    if record.get("weights") == DELETED:
        raise UserError(f"{path}: deleted on purpose, the scores of this run were all that was needed; {again}")
    if record.get("state") == "finished":
        raise UserError(f"{path}: gone, or left on the machine that made this run, which is finished; {again}")
    raise UserError(f"{path}: not there yet, this run is {record.get('state')}; start its command again to go on")


def config_of(facts: dict[str, Any]) -> RunConfig:
    """The options that the facts of a file of weights hold.

    Our first files named a class or nothing, and held the options of all methods, read or not.
    """
    values, method = dict(facts["config"]), facts.get("method")
    if method is None:
        method = str(facts.get("kind") or methods.DEFAULT).lower()
        read = all_options(with_values(RunConfig(), {"method": method}))
        values = {name: value for name, value in values.items() if name in read}
    return recorded(values | {"method": method})


def load_weights(network: nn.Module, tensors: Tensors, source: Path | str) -> None:
    """Put weights into a network. Buffers that the file lacks stay as they were built: older files have none.

    Raises UserError on parameters that are missing or left over, and on other shapes.
    """
    try:
        missing, unexpected = network.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        raise UserError(f"{source}: weights do not fit the options ({' '.join(str(error).split())[:300]})") from error
    parameters = {name for name, _ in network.named_parameters()}
    if missing := [name for name in missing if name in parameters]:
        raise UserError(f"{source}: weights do not fit the options: missing {missing}, left over {unexpected}")
    if unexpected:
        raise UserError(f"{source}: weights do not fit the options: left over {unexpected}")
