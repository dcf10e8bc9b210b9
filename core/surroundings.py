"""What a command needs of the process it starts in: a home folder, an output that takes every character, no window."""

import io
import os
import pwd
import sys
import tempfile

BACKEND = "agg"
"""Matplotlib's backend that needs nothing but files."""


def prepare() -> None:
    """Give this process and its children a HOME and a backend, and print ? for what the terminal's encoding lacks."""
    choose_backend()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    if not os.environ.get("HOME"):  # as under cron and in containers; nltk and wandb give up without one
        os.environ["HOME"] = home()


def choose_backend() -> None:
    """Let matplotlib write files and nothing else, in this process and its children.

    Jupyter and Colab name a backend of theirs in MPLBACKEND, which matplotlib refuses at its import where that one's
    package is missing. Only commands call this: a notebook that uses our modules keeps its own.
    """
    os.environ["MPLBACKEND"] = BACKEND


def home() -> str:
    """The user's home folder as the system knows it; for a number without a user, the folder for temporary files."""
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return tempfile.gettempdir()
