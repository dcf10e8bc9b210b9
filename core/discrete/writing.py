"""What the harness asks of a decoding that tries several lengths in a number of steps, and how one begins and ends."""

from dataclasses import dataclass, replace
from typing import Any, Self

from torch import Tensor

from core.candidates import Candidates, Choice, chooser
from core.discrete.decoding import Chance, Predict, hypotheses, lengths_around, predictor
from core.discrete.mask_predict import may_be_masked
from core.discrete.network import TokenNetwork
from core.discrete.options import Lengths
from core.text.batches import Batch
from core.text.tokenizer import PAD


@dataclass(frozen=True)
class Begun:
    """A decoding by chance that is about to write: hypotheses of these lengths [N], the network over them, chance."""

    lengths: Tensor
    predict: Predict
    chance: Chance

    @classmethod
    def of(cls, network: TokenNetwork, batch: Batch, decoding: Lengths, seed: int) -> Self:
        """That of a batch: lengths around the most likely one."""
        memory = network.encode(batch.source, batch.source_mask)
        lengths = lengths_around(network, memory, decoding.length_candidates, decoding.least_length)
        return cls(lengths, predictor(network, memory, lengths), Chance.of(batch, seed))


class ByLengths:
    """Answers of a method whose decoding has the options of `Lengths`."""

    options: Any

    @property
    def with_end(self) -> bool:
        """Whether EOS is written as words are."""
        return False

    def written(self, tokens: Tensor, lengths: Tensor, log_p: Tensor, decoding: Lengths) -> Candidates:
        """Candidates of tokens and their log p [N, L], compared by the mean over words; and, where EOS is written, over
        EOS and each PAD within the length."""
        inner = may_be_masked(lengths, self.with_end)
        real = (tokens != PAD) | (inner & self.with_end)
        counted = real if decoding.count_ends else real & inner
        return hypotheses(tokens, lengths, log_p, counted)

    def most_steps(self) -> int | None:
        """The most steps that a decoding can have; none = any number."""
        return None

    def count(self, decoding: Any) -> int:
        """The lengths."""
        return int(decoding.length_candidates)

    def choice(self, decoding: Any, bleu_tokenizer: str) -> Choice:
        """By the model's mean log-probability, or by BLEU against the others."""
        return chooser(decoding.chosen_by, bleu_tokenizer)

    def with_steps(self, decoding: Any, steps: int) -> Any | None:
        """So many steps."""
        most = self.most_steps()
        return None if most is not None and steps > most else replace(decoding, passes=steps)

    def calls(self, decoding: Any) -> int | None:
        """One a pass."""
        return int(decoding.passes)

    def alone(self, decoding: Any) -> Any:
        """The predicted length alone."""
        return replace(decoding, length_candidates=1)

    def facts(self, decoding: Any) -> dict[str, Any]:
        """Candidates, their choice, and the steps."""
        return {
            "candidates": str(decoding.length_candidates),
            "selection": decoding.chosen_by,
            "decoding_steps": decoding.passes,
        }
