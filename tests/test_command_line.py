"""The command line: numbers that are none, `none`, and what --help shows."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from ablations import command_line


@dataclass(frozen=True)
class Wanted:
    """What is asked here."""

    count: int = 2
    """How many."""
    limit: int | None = None
    """At most."""
    rate: float | None = 0.5
    """How fast."""
    names: tuple[str, ...] = ()
    """Which."""
    data: str | None = "here"
    """Where from."""
    out: Path | None = None
    """Where to."""


def asked(*arguments: str) -> Wanted:
    """The options of a command line."""
    return command_line.read(Wanted, prog="python -m here", description="What is asked.", args=arguments)


def test_numbers_are_read() -> None:
    assert asked("--count", "3", "--limit", "4", "--rate", "1e-3") == Wanted(3, 4, 1e-3)
    assert asked("--limit", "none", "--rate", "None").limit is None and asked("--rate", "None").rate is None
    assert asked("--data", "none").data is None and asked("--out", "x").out == Path("x")
    assert asked("--rate", "2", "--names", "a", "b") == Wanted(rate=2.0, names=("a", "b"))


@pytest.mark.parametrize(
    ("option", "text", "kind"),
    [("count", "x", "whole number"), ("limit", "1.5", "whole number"), ("rate", "1,5", "number")],
)
def test_what_is_no_number_is_said_in_plain_words(
    option: str, text: str, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        asked(f"--{option}", text)
    said = capsys.readouterr()
    assert left.value.code == 2
    assert f"--{option}: {text!r} is not a {kind}" in said.err
    assert "instantiated" not in said.err and "literal" not in said.err and "convert" not in said.err


@pytest.mark.parametrize("text", ["nan", "inf"])
def test_a_number_is_finite(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        asked("--rate", text)
    assert f"{text!r} is not a number" in capsys.readouterr().err


def test_help_names_the_kind_of_a_value_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        asked("--help")
    shown = capsys.readouterr().out
    assert "--limit INT" in shown and "--rate FLOAT" in shown and "--out PATH" in shown
    assert "default: None" in shown and "{None}" not in shown
