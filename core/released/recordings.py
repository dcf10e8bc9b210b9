"""What the replays of recordings of several systems share."""

from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from core.checks import check
from core.config import RunConfig
from core.errors import UserError
from core.options import MethodOptions, replaced, values_of
from core.released.archives import Weights
from core.released.comparison import Arrays
from core.sections import NetworkConfig

M = TypeVar("M", bound=MethodOptions)


def tensor(case: Arrays, name: str) -> Tensor:
    """A recorded array."""
    return torch.from_numpy(case[name])


class Part(Arrays):
    """The arrays whose names begin so, by the rest of their names. One that lacks is missed by its whole name."""

    def __init__(self, case: Arrays, prefix: str) -> None:
        super().__init__({n.removeprefix(prefix): array for n, array in case.items() if n.startswith(prefix)})
        self.prefix = prefix

    def __missing__(self, name: str) -> np.ndarray:
        raise KeyError(self.prefix + name)


def check_epsilon(options: dict[str, Any], network: nn.Module) -> None:
    """Raises UserError if a recording's LayerNorm has another epsilon than ours, which is the released code's."""
    theirs = options["layer_norm_eps"]
    ours = {module.eps for module in network.modules() if isinstance(module, nn.LayerNorm)}
    if ours != {theirs}:
        raise UserError(f"a recording with layer_norm_eps {theirs}, not {ours.pop()}, is not replayed")


def kept_steps(respacing: Any, T: int) -> int:
    """How many of T steps a decoding takes; all if respacing is "". Raises UserError on what is no number of them."""
    if not respacing:
        return T
    if not str(respacing).isdecimal() or not 2 <= int(respacing) <= T:
        raise UserError(f"a decoding with timestep_respacing {respacing!r}, not 2 to {T}, is not replayed")
    return int(respacing)


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
