"""What a command needs of the process it starts in: a home folder, and an output that takes every character."""

import io
import os
import pwd
import sys
import tempfile


def prepare() -> None:
    """Give this process and its children a HOME, and print ? for what the terminal's encoding does not have."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    if not os.environ.get("HOME"):  # as under cron and in containers; nltk and wandb give up without one
        os.environ["HOME"] = home()


def home() -> str:
    """The user's home folder as the system knows it; for a number without a user, the folder for temporary files."""
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return tempfile.gettempdir()
