"""A model that can be used: model.safetensors (weights, and in its metadata the options) and tokenizer.json.

Run folders and converted released checkpoints are such folders.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from core import checkpoints, methods
from core.checkpoints import Tensors
from core.checks import check
from core.config import RunConfig, all_options, flat, recorded, with_values
from core.errors import UserError
from core.generation import DECODE_TOKENS, Written, candidates
from core.methods.method import Method
from core.options import values_of
from core.run_folder import TOKENIZER, WEIGHTS
from core.scoring.tokenizers import USUAL
from core.text.batches import decode_batches, encode
from core.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Model:
    """A network in evaluation mode with what it takes to use it. decoding: as its own options say. bleu_tokenizer: for
    the choice among candidates by BLEU-MBR, as in training."""

    method: Method[Any]
    network: Any
    config: RunConfig
    tokenizer: Tokenizer
    bleu_tokenizer: str = USUAL

    @property
    def decoding(self) -> Any:
        """The decoding that its own options say; None if the method has no options of decoding."""
        return getattr(self.config.method, "decoding", None)

    def translate(self, lines: Sequence[str], decoding: Any = None, seed: int = 1) -> list[str]:
        """The text of each source sentence. decoding: another one than the model's own.

        Raises UserError if a sentence is too long, and on a decoding that no run can have.
        """
        return [found[0].text for found in self.candidates(lines, decoding, seed)]

    def candidates(
        self,
        lines: Sequence[str],
        decoding: Any = None,
        seed: int = 1,
        done: Callable[[int], None] = lambda count: None,
    ) -> list[list[Written]]:
        """All that is written for each sentence, the chosen text first. done(count): called after each batch.

        Raises UserError as `translate` does.
        """
        if decoding is not None:
            check(with_values(self.config, values_of(decoding, all_of_them=True)))
        decoding = decoding or self.decoding
        if not lines:
            return []
        if count := sum(length > self.longest for length in self.lengths(lines)):
            message = f"source longer than {self.longest + 1} tokens: {count} sentences; shorten or split them"
            raise UserError(message)
        encoded = encode([(line, "") for line in lines], self.tokenizer, self.longest + 1, "source")
        device = next(self.network.parameters()).device
        made = decode_batches(encoded, DECODE_TOKENS // self.method.count(decoding))
        batches = ((indices, batch.to(device)) for indices, batch in made)
        found: dict[int, list[Written]] = {}
        decode, words = self.tokenizer.decode, self.bleu_tokenizer
        for part in candidates(self.method, self.network, batches, decoding, decode, seed, words):
            found |= part
            done(len(part))
        return [found[index] for index in range(len(lines))]

    @property
    def longest(self) -> int:
        """Most tokens of a source sentence; EOS comes with them."""
        return int(self.network.max_positions) - 1

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text."""
        return [len(ids) for ids in self.tokenizer.encode_many(list(texts))]


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
    tensors, facts = checkpoints.load(folder / WEIGHTS)
    if not all(bool(value.isfinite().all()) for value in tensors.values()):
        raise UserError(f"{folder / WEIGHTS}: its weights are no numbers any more (the training diverged)")
    if "config" not in facts:
        raise UserError(f"{folder / WEIGHTS}: holds weights but not the options they belong to")
    config = config_of(facts)
    method = methods.method_for(config.method)
    network = method.build(facts["vocab"], facts["max_positions"])
    load_weights(network, tensors, folder / WEIGHTS)
    words = Tokenizer.load(folder / TOKENIZER)
    return Model(method, network.to(device).eval(), config, words, facts.get("bleu_tokenizer", USUAL))


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
