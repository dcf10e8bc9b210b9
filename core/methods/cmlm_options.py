"""The options of the conditional masked language model."""

from dataclasses import dataclass
from typing import Any, Literal

from core.discrete.options import RELEASED, Lengths, TokensConfig, check_writing
from core.options import MethodOptions
from core.sections import NetworkConfig


@dataclass(frozen=True)
class Masking:
    """What is masked in training, and what is asked of the network."""

    form: Literal["fairseq", "mask_predict"] = "fairseq"
    """Whose conventions. fairseq: words alone are masked, 1 to n of n; the length is read off the mean of the encoder's
    output, and lengths lie around the likeliest. mask_predict: EOS is masked and written too, 1 to L - 1 of L; the
    length is read off a token of its own, the likeliest lengths are tried, and the sum of length losses is divided by
    the number of masked tokens."""
    label_smoothing: float = 0.1
    """Label smoothing of the token loss (released: 0.1)."""
    length_loss_factor: float = 0.1
    """Weight of the length loss (fairseq's: 0.1; Mask-Predict's: 1)."""


@dataclass(frozen=True)
class MaskPredict(Lengths):
    """How text is written."""

    stop_when_same: bool = False
    """End a hypothesis when a pass leaves it as it was (fairseq's script: yes). What is compared holds masks, so it may
    end with some in it, which are written as UNK, and score better than words."""


@dataclass(frozen=True)
class Options(MethodOptions):
    """CMLM: all tokens at once, the least likely again (Ghazvininejad et al. 2019)."""

    network: NetworkConfig = NetworkConfig()
    tokens: TokensConfig = TokensConfig()
    masking: Masking = Masking()
    decoding: MaskPredict = MaskPredict()

    def check(self) -> None:
        """Raises UserError on values that do not go together."""
        self.network.check()
        check_writing(self.decoding)


AS_RELEASED: dict[str, Any] = RELEASED | {
    "ffn_dim": 2048,
    "heads": 8,
    "form": "fairseq",
    "passes": 11,
    "stop_when_same": True,
    "least_length": 2,
    "lr": 3e-4,
    "warmup": 10000,
    "batch_tokens": 2048,
    "updates": 250000,
}
"""fairseq's CMLM as its IWSLT14 script trains and decodes it. What this suite does not do: it averages the last five
checkpoints of the training, here the five best on validation; the source has no BOS here."""

MASK_PREDICT: dict[str, Any] = AS_RELEASED | {
    "form": "mask_predict",
    "own_mask": True,
    "activation": "gelu",
    "length_loss_factor": 1.0,
    "passes": 10,
    "stop_when_same": False,
    "least_length": 3,
    "count_ends": False,
    "lr": 5e-4,
    "beta2": 0.999,
    "batch_tokens": 8192,
    "updates": 300000,
}
"""Mask-Predict's own recipe. What this suite does not do: embeddings without their scale, layer norms with eps 1e-12,
Adam's eps of 1e-6. Targets have BOS here, which is never masked or written: its least length of 2 is 3 here."""

FORMS = {("form", "mask_predict"): MASK_PREDICT}
