"""The style sheet of every figure: fonts, sizes and lines, ours or the user's.

It stands in paper.mplstyle. Widths are those of a two-column paper in inches; nothing is smaller than 7 points at that
width.
"""

import contextlib
import io
import logging
import re
import shutil
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from analysis.choices import Choices, choosing, chosen
from analysis.plain_text import spell_out
from core.errors import UserError

SMALL = 7
"""The smallest font size, in points."""
STYLE = Path(__file__).with_name("paper.mplstyle")
"""The style file: fonts, sizes, lines. Edit it, or lay one of your own over it with --style FILE."""
STYLES = {"serif": Path(__file__).with_name("serif.mplstyle")}
"""Styles of ours to lay over it, by name."""


def read_style(path: Path) -> dict[Any, Any]:
    """The settings in a matplotlib style file, or in one of ours by its name.

    Raises UserError where it cannot be read, has a line of no meaning, or asks for what is not installed.
    """
    path = path if path.is_file() else STYLES.get(str(path), path)
    if not path.is_file():
        names = ", ".join(STYLES)
        raise UserError(f"no style file {path}: name a matplotlib style sheet, such as a copy of {STYLE}, or {names}")
    said: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(" ".join(record.getMessage().split()))  # type: ignore[method-assign]
    logger = logging.getLogger("matplotlib")
    logger.addHandler(handler)
    propagated, logger.propagate = logger.propagate, False
    try:
        read = dict(matplotlib.rc_params_from_file(path, use_default_template=False))
    except (OSError, ValueError) as error:  # such as a file that is not text
        raise UserError(f"style file {path} is unreadable: {error}") from error
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagated
    if said:
        raise UserError(f"style file {path}: {said[0]}")
    if read.get("text.usetex"):
        check_latex(path)
    return read


LATEX = ("latex", "dvipng", "kpsewhich")
"""The programs by which matplotlib has LaTeX set text."""


def check_latex(path: Path) -> None:
    """Raise UserError where LaTeX is not there to set what the style file wants set by it."""
    missing = [name for name in LATEX if shutil.which(name) is None]
    if missing:
        raise UserError(
            f"style file {path}: text.usetex: True has LaTeX set all text, and {', '.join(missing)} is not installed; "
            "install LaTeX, or set text.usetex: False"
        )


RC = read_style(STYLE)


@contextlib.contextmanager
def styled(style: Mapping[Any, Any] | None = None, choices: Choices | None = None) -> Iterator[None]:
    """Within it figures have our style, and over it one of the user's; a matplotlibrc of theirs changes nothing.

    Raises UserError where LaTeX, which the user's style asks for, cannot set the text.
    """
    with matplotlib.rc_context(), choosing(choices or chosen()):
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({**RC, **(style or {})})
        try:
            yield
        except RuntimeError as error:
            if not matplotlib.rcParams["text.usetex"]:
                raise
            reason = next((line for line in str(error).splitlines() if line.startswith("!")), str(error).split("\n")[0])
            raise UserError(f"text.usetex: True in the style: LaTeX cannot set the text ({reason})") from error


class Page(Figure):
    """A figure that pyplot does not know of: it belongs to who made it, whatever the backend, and notebooks show it.

    caption: what lines and bands are, and what the numbers are worth.
    """

    caption = ""

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        with styled():
            self.savefig(file, format="png")
        return file.getvalue()


class Signs:
    """Characters that the style's fonts lack, collected while figures are drawn, in place of a warning for each."""

    WARNING = re.compile(r"Glyph (\d+) \(.*\) missing from font\(s\) (.*)\.")

    def __init__(self) -> None:
        self.lacking: dict[str, str] = {}

    def __enter__(self) -> "Signs":
        self._caught = warnings.catch_warnings()
        self._caught.__enter__()
        show = warnings.showwarning

        def showwarning(message: Warning | str, *rest: Any) -> None:
            found = self.WARNING.fullmatch(str(message))
            if found:
                self.lacking[chr(int(found[1]))] = found[2]
            else:
                show(message, *rest)

        warnings.showwarning = showwarning  # type: ignore[assignment]
        warnings.filterwarnings("always", "Glyph .* missing from font")
        return self

    def __exit__(self, *_: object) -> None:
        self._caught.__exit__(None, None, None)

    def said(self) -> list[str]:
        """One line that names them, if there are any."""
        fonts = ", ".join(dict.fromkeys(self.lacking.values()))
        signs = " ".join(spell_out(sign) for sign in sorted(self.lacking) if sign.strip())
        way = "name a font that has them as font.family in a file given with --style"
        return [f"boxes in figures: {fonts} has no sign for {signs}; {way}"] if signs else []
