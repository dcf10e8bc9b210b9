"""The options of DiffuSeq and DiffuSeq-v2, and the released recipe."""

from dataclasses import dataclass
from typing import Any

from core.checks import NOT_NEGATIVE, check_rule
from core.diffusion.end_to_end_sections import (
    RELEASED,
    EndToEndOptions,
    ProcessConfig,
    WalkConfig,
    check_whole,
)
from core.errors import UserError
from core.sections import PAIR_TOKENS


@dataclass(frozen=True)
class CanvasConfig:
    """Source and target joined into one sequence."""

    sequence_length: int | None = None
    """Length of every joined sequence, whose longer side is cut until it fits; what the pair leaves is PAD, which is
    predicted (released: 128). none = target_length positions after each source, whatever its length (ours)."""
    restart_positions: bool = False
    """Positions of the written part count from a place of their own, whatever the source's length (ours); off = they go
    on from the source's (released)."""
    count_source: bool = False
    """Means are also over the source, which carries no noise but that of x_0 (the released code: True)."""
    absorbing: bool = False
    """The soft absorbing state m of DiffuSeq-v2, a learned vector that x_t falls to."""
    absorb_rate: float = 0.5
    """DiffuSeq-v2: a position is m with probability rate * sqrt(1 - abar_t) (its script: 0.5; its default: 0.2)."""
    absorb_weight: float = 0.01
    """DiffuSeq-v2: weight of the norm of m in the loss (released: 0.01)."""


@dataclass(frozen=True)
class CanvasWalk(WalkConfig):
    """The sampler, the candidates and the choice among them."""

    absorbing_start: bool = True
    """DiffuSeq-v2: start from noise around m; off = around 0 (a slip of the released script)."""


@dataclass(frozen=True)
class Options(EndToEndOptions):
    """Diffusion over embeddings of source and target joined, by one stack of layers (Gong et al. 2023)."""

    canvas: CanvasConfig = CanvasConfig()
    diffusion: ProcessConfig = ProcessConfig(time_sampler="lossaware")
    decoding: CanvasWalk = CanvasWalk(variance="large")

    @property
    def one_stack(self) -> bool:
        """Yes."""
        return True

    def check(self) -> None:
        """Raises UserError on values that do not go together, or that no run can have."""
        super().check()
        check_whole("sequence_length", self.canvas.sequence_length, 8)
        if self.canvas.restart_positions and self.canvas.sequence_length is not None:
            raise UserError("option restart_positions: needs windows of one length; leave out sequence_length")
        for name in ("decoder_ffn_dim", "decoder_heads", "decoder_pre_norm", "decoder_learned_positions"):
            if getattr(self.network, name) is not None:
                raise UserError(f"option {name}: method {self.name} has one stack, without a decoder of its own")
        for name in ("absorb_rate", "absorb_weight"):
            check_rule(name, getattr(self.canvas, name), NOT_NEGATIVE)


AS_RELEASED: dict[str, Any] = RELEASED | {
    "model_dim": 768,
    "heads": 12,
    "ffn_dim": 3072,
    "encoder_layers": 6,
    "decoder_layers": 6,
    "dropout": 0.1,
    "sequence_length": 128,
    "count_source": True,
    "decoding_steps": 2000,
    "noise_candidates": 10,
    "batch_tokens": 512 * PAIR_TOKENS,
    "updates": 50_000,
    "warmup": 0,
}
"""The released recipe (QQP; question generation 40,000, dialogue 140,000, simplification 80,000 updates).

It takes 8,192 sentences an update (2,048 on each of 4 processes), whose gradients it sums over micro-batches of 64.
Here a batch is in memory as a whole, so it has 512; over many GPUs (torchrun) batch_tokens=212992 is all. BERT's
vocabulary, dropout of attention weights (0.1), and the last weights, where ours are the best on validation, have no
option. With fewer steps it samples by sampler=ddim with released_ddim. Tokens are read up to the first EOS or PAD; the
released text has what follows an END too."""

V2: dict[str, Any] = AS_RELEASED | {
    "absorbing": True,
    "absorb_rate": 0.5,
    "absorb_weight": 0.01,
    "absorbing_start": False,
    "clamping": False,
    "sampler": "dpm_solver",
    "decoding_steps": 10,
    "batch_tokens": 2 * 425 * PAIR_TOKENS,
}
"""DiffuSeq-v2, on 2 processes with 425 sentences each; DPM-Solver++ begins around 0, which is a slip."""

FORMS = {("absorbing", True): V2}
