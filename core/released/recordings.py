"""What the replays of recordings of several systems share."""

from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from core.checks import check
from core.config import RunConfig
from core.options import MethodOptions, replaced, values_of
from core.released.archives import Weights
from core.released.comparison import Arrays
from core.sections import NetworkConfig

M = TypeVar("M", bound=MethodOptions)


def tensor(case: Arrays, name: str) -> Tensor:
    """A recorded array."""
    return torch.from_numpy(case[name])


def part_of(case: Arrays, prefix: str) -> Arrays:
    """The arrays whose names begin so, by the rest of their names."""
    return {name.removeprefix(prefix): array for name, array in case.items() if name.startswith(prefix)}


def checked_options(options: M) -> M:
    """The options of a method, if a run can have them. Raises UserError otherwise."""
    made = replaced(options, values_of(options, all_of_them=True))  # checks types and choices
    check(RunConfig(made))
    return made


def encoder_decoder(options: dict[str, Any]) -> NetworkConfig:
    """The Transformer of a recording that names its sizes width and ffn."""
    return NetworkConfig(
        model_dim=options["width"],
        ffn_dim=options["ffn"],
        heads=options["heads"],
        encoder_layers=options["encoder_layers"],
        decoder_layers=options["decoder_layers"],
        activation="gelu",
        dropout=0.0,
    )


def own_state(network: nn.Module) -> Weights:
    """What the released code keeps elsewhere than in its weights: buffers, such as the noise process."""
    learned = {name for name, _ in network.named_parameters()}
    return {name: value for name, value in network.state_dict().items() if name not in learned}
