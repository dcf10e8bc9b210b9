"""What the harness asks of a decoding that tries several lengths in a number of steps."""

from dataclasses import replace
from typing import Any

from core.candidates import Choice, chooser


class ByLengths:
    """Answers of a method whose decoding has the options of `Lengths`."""

    options: Any

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
