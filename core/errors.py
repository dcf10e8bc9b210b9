"""The one exception for mistakes a user can make: its message is all they see."""

import re
import sys
from collections.abc import Callable
from functools import wraps
from typing import NoReturn

_PASSWORD = re.compile(r"(?<=://)([^\s:/@]*):\S*@|(?<=password=)[^\s&]+")


class UserError(Exception):
    """Something the user can mend; the message names the file, line or option and the way out."""


def masked(text: str) -> str:
    """The text with the passwords of all URLs in it as ***: for messages, logs and records."""
    return _PASSWORD.sub(lambda found: f"{found[1]}:***@" if found[1] is not None else "***", text)


def stop(message: str) -> NoReturn:
    """Print one message for the user and leave with status 2."""
    print(f"error: {masked(message)}", file=sys.stderr)
    raise SystemExit(2)


def command(main: Callable[[], int | None]) -> Callable[[], int]:
    """Wrap a command's main(): UserError -> one message and status 2, Ctrl-C -> status 130."""

    @wraps(main)
    def run() -> int:
        """The wrapped command: returns its status, or leaves with one message."""
        try:
            return main() or 0
        except UserError as error:
            stop(str(error))
        except KeyboardInterrupt:
            print("stopped; start the same command again to go on", file=sys.stderr)
            raise SystemExit(130) from None
        except BrokenPipeError:
            sys.stderr.close()
            return 0

    return run
