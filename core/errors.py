"""The one exception for mistakes a user can make: its message is all they see."""

import sys
from collections.abc import Callable
from functools import wraps
from typing import NoReturn


class UserError(Exception):
    """Something the user can mend; the message names the file, line or option and the way out."""


def stop(message: str) -> NoReturn:
    """Print one message for the user and leave with status 2."""
    print(f"error: {message}", file=sys.stderr)
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
