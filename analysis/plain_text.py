"""Characters that say nothing and may do harm, made visible."""

import re

HIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
"""Controls, line separators, bidi overrides and isolates, surrogates."""


def spell_out(text: object) -> str:
    """Text with each hidden character spelled out, such as ⟨U+202E⟩."""
    return HIDDEN.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", str(text))


def one_line(text: object) -> str:
    """Text in one line, with nothing hidden."""
    return " ".join(spell_out(text).split())
