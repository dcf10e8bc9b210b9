"""What the harness asks of a decoding that tries noises, and where it has the option lengths, for each sentence."""

from dataclasses import replace
from typing import Any, ClassVar

from core.candidates import Choice, chooser


class ByNoises:
    """Answers of a method whose decoding has the options noise_candidates, selection and perhaps length_candidates."""

    TOLD: ClassVar[tuple[str, ...]] = ("selection", "sampler", "decoding_steps")
    """Options that scores.json says of a decoding."""

    def count(self, decoding: Any) -> int:
        """Lengths x noises."""
        return lengths(decoding) * int(decoding.noise_candidates)

    def choice(self, decoding: Any, bleu_tokenizer: str) -> Choice:
        """By BLEU against the others, or by the model's mean log-probability."""
        return chooser(decoding.selection, bleu_tokenizer)

    def alone(self, decoding: Any) -> Any:
        """One length, one noise."""
        names = [name for name in ("length_candidates", "noise_candidates") if hasattr(decoding, name)]
        return replace(decoding, **dict.fromkeys(names, 1))

    def facts(self, decoding: Any) -> dict[str, Any]:
        """Candidates, and the options told."""
        told = {name: getattr(decoding, name) for name in self.TOLD}
        return {"candidates": f"{lengths(decoding)}x{decoding.noise_candidates}", **told}


def lengths(decoding: Any) -> int:
    """How many lengths are tried for a sentence."""
    return int(getattr(decoding, "length_candidates", 1))
