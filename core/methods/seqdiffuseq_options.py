"""The options of SeqDiffuSeq, and its released recipe."""

from dataclasses import dataclass
from typing import Any

from core.diffusion.end_to_end_sections import (
    RELEASED,
    EndToEndConfig,
    EndToEndOptions,
    ProcessConfig,
    SpaceConfig,
    WalkConfig,
    check_whole,
)
from core.errors import UserError
from core.sections import PAIR_TOKENS


@dataclass(frozen=True)
class Space(SpaceConfig):
    """The embedding space, and how the denoiser works in it."""

    self_conditioning: bool = True
    """Feed the previous prediction of x_0 back in (released: yes)."""


@dataclass(frozen=True)
class Adapting(ProcessConfig):
    """The forward process in training, whose schedule adapts."""

    granularity: int = 20
    """Times t whose losses are taken together (released: 20 of 2000)."""
    stride: int | None = 100
    """Updates between two changes of the schedule, the first one after three times as many (ours; released: 20,000);
    none = it stays as it is."""


@dataclass(frozen=True)
class Counting(EndToEndConfig):
    """L = mse + token + tT."""

    count_padding: bool = False
    """mse and token are also over the PAD behind a target, which is then predicted like any token (released: yes)."""


@dataclass(frozen=True)
class Walk(WalkConfig):
    """The sampler, the candidates and the choice among them."""

    clamping: bool = False
    """Replace the prediction by the embedding of its nearest type (released: never, whatever its option says)."""
    released_variance: bool = False
    """Replay a slip: the ancestral sampler's variance at step k is the k-th entry of the table of all steps and
    positions, written row after row: nearly none."""


@dataclass(frozen=True)
class Options(EndToEndOptions):
    """An encoder-decoder diffusion with a noise schedule for each position, which adapts (Yuan et al. 2024)."""

    latent: Space = Space()
    diffusion: Adapting = Adapting()
    objective: Counting = Counting()
    decoding: Walk = Walk()

    def check(self) -> None:
        """Raises UserError on values that do not go together, or that no run can have."""
        super().check()
        check_whole("stride", self.diffusion.stride, 1)
        most = self.diffusion.diffusion_steps // 2
        if not 1 <= self.diffusion.granularity <= most:
            raise UserError(
                f"option granularity: {self.diffusion.granularity} must lie between 1 and {most}, half of T"
            )
        if self.diffusion.time_sampler == "lossaware":
            raise UserError("option time_sampler: lossaware is not for a schedule that goes by the loss itself")
        if self.decoding.released_ddim:
            raise UserError("option released_ddim: is a slip of method diffuseq")
        if self.decoding.released_variance and self.decoding.sampler != "ancestral":
            raise UserError("option released_variance: is a slip of sampler=ancestral")


AS_RELEASED: dict[str, Any] = RELEASED | {
    "model_dim": 512,
    "heads": 8,
    "ffn_dim": 2048,
    "encoder_layers": 6,
    "decoder_layers": 6,
    "dropout": 0.0,
    "target_length": 64,
    "stride": 20_000,
    "count_padding": True,
    "decoding_steps": 2000,
    "released_variance": True,
    "batch_tokens": 128 * PAIR_TOKENS,
    "updates": 300_000,
    "warmup": 10_000,
    "valid_every": 10_000,
}
"""IWSLT14 De-En; dropout is 0 because its scripts set 0.3 and never pass it. The learning rate falls to 0 at the end,
where the released one would at 1,000,000 updates. It takes 128 sentences a batch, and the last weights, where ours are
the best on validation; the text behind EOS has no option."""
