"""Run folders as links from the page: relative, so that they hold where page and runs are moved together."""

import os
from pathlib import Path
from urllib.parse import quote

from analysis.report.html import Html, tag, text_of


def place(study: Path, out: Path) -> str:
    """The address of a study's folder as seen from the folder of the page."""
    return "./" + quote(Path(os.path.relpath(study.resolve(), out.resolve())).as_posix())


def folder_link(run: str, base: str | None) -> Html:
    """The name of a run folder, as a link where the study's address is known; any name stays a name in it."""
    name = text_of(run)
    return name if base is None else tag("a", name, href=f"{base}/{quote(run, safe='')}/", class_="folder")
