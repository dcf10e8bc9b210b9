"""The options of the autoregressive Transformer."""

from dataclasses import dataclass
from typing import Any

from core.checks import AT_LEAST_1, check_rule
from core.errors import UserError
from core.options import MethodOptions, added
from core.sections import NetworkConfig

MOST_PENALTY = 10
"""Beyond it the length of a long text, to this power, is no number."""


@dataclass(frozen=True)
class TeacherForcing:
    """The mean label-smoothed cross-entropy of each token, given those before it."""

    label_smoothing: float = 0.1
    """Label smoothing of the token loss (Vaswani et al. 2017: 0.1)."""


@dataclass(frozen=True)
class BeamSearch:
    """How text is written."""

    beam: int = 5
    """Prefixes that go on at each place; 1 = greedy (Kim and Rush 2016: 5)."""
    length_penalty: float = 1.0
    """alpha: hypotheses are compared by log p / length^alpha (ours: 1, the mean log-probability)."""
    hypotheses: int = added(1)
    """Candidates: the best hypotheses of a search that are kept; the first is taken."""


@dataclass(frozen=True)
class Options(MethodOptions):
    """An encoder-decoder Transformer that writes from left to right (Vaswani et al. 2017)."""

    network: NetworkConfig = NetworkConfig()
    objective: TeacherForcing = TeacherForcing()
    decoding: BeamSearch = BeamSearch()

    def check(self) -> None:
        """Raises UserError on values that do not go together, or that no search can have."""
        self.network.check()
        check_rule("beam", self.decoding.beam, AT_LEAST_1)
        if not 1 <= self.decoding.hypotheses <= self.decoding.beam:
            said = f"option hypotheses: {self.decoding.hypotheses} must lie between 1 and beam = {self.decoding.beam}"
            raise UserError(said)
        if not 0 <= self.decoding.length_penalty <= MOST_PENALTY:
            said = f"option length_penalty: {self.decoding.length_penalty} must lie between 0 and {MOST_PENALTY}"
            raise UserError(said)


AS_RELEASED: dict[str, Any] = {
    "model_dim": 512,
    "encoder_layers": 6,
    "decoder_layers": 6,
    "ffn_dim": 1024,
    "heads": 4,
    "dropout": 0.3,
    "learned_positions": False,
    "initialization": "xavier",
    "batch_tokens": 4096,
    "vocab_size": 10000,
    "updates": 50000,
    "lr": 5e-4,
    "warmup": 4000,
    "weight_decay": 1e-4,
    "clip_norm": 1e9,
    "keep_best": 1,
    "valid_every": 1000,
    "valid_sentences": 1000,
}
"""fairseq's Transformer for IWSLT14 De-En, trained for 50,000 updates where its example names no end."""
