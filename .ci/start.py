"""Run a program as the Makefile asks: python .ci/start.py MODULE ARGUMENT...

The words of the variable ARGS come last. Quotes and backslashes in it group as in a shell; nothing in it is expanded or
run. The command is shown first, without passwords, as a shell would take it (not under make -s).
"""

import os
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from core.errors import masked_line


def words(text: str) -> list[str]:
    """The words of ARGS. Ends with one message if a quote is not closed."""
    try:
        return shlex.split(text)
    except ValueError as error:
        sys.exit(f"error: ARGS={text}: {str(error).lower()}")


def main() -> None:
    """Become the program."""
    python = os.environ.get("PY") or sys.executable
    line = [python, "-m", *sys.argv[1:], *words(os.environ.get("ARGS", ""))]
    flags = os.environ.get("MAKEFLAGS", "").split(" ")[0]
    if "s" not in flags or "-" in flags:
        print(masked_line(line), flush=True)
    os.execvp(python, line)


if __name__ == "__main__":
    main()
