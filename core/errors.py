"""The one exception for mistakes a user can make: its message is all they see."""

import errno
import re
import sys
from collections.abc import Callable
from functools import wraps
from types import TracebackType
from typing import NoReturn

from core import surroundings

_PASSWORD = re.compile(r"(?<=://)([^\s:/@]*):\S*@|(?<=password=)[^\s&]+")


STOPPED = "stopped; start the same command again to go on"


class UserError(Exception):
    """Something the user can mend; the message names the file, line or option and the way out."""


class TimeIsUp(SystemExit):
    """The time that was given is over, and all is saved; the same command goes on. Status 75: not done yet."""

    def __init__(self, message: str) -> None:
        super().__init__(75)
        self.message = message


def masked(text: str) -> str:
    """The text with the passwords of all URLs in it as ***: for messages, logs and records."""
    return _PASSWORD.sub(lambda found: f"{found[1]}:***@" if found[1] is not None else "***", text)


def stop(message: str) -> NoReturn:
    """Print one message for the user and leave with status 2."""
    print(f"error: {masked(message)}", file=sys.stderr)
    raise SystemExit(2)


def command(main: Callable[[], int | None]) -> Callable[[], int]:
    """Wrap a command's main(): UserError, or a file refused by the system -> one message, status 2; Ctrl-C -> 130."""

    @wraps(main)
    def run() -> int:
        """The wrapped command: returns its status, or leaves with one message."""
        surroundings.prepare()
        try:
            return main() or 0
        except UserError as error:
            stop(str(error))
        except KeyboardInterrupt:
            print(STOPPED, file=sys.stderr)
            raise SystemExit(130) from None
        except TimeIsUp as end:
            print(f"{end.message}; start the same command again to go on", file=sys.stderr)
            raise
        except BrokenPipeError:
            sys.stderr.close()
            return 0
        except OSError as error:
            stop(_refused(error))

    return run


def _refused(error: OSError) -> str:
    """What the system refused, for the user; raised again if it names no file and the disk has room."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}; make room and start the same command again"
    if error.filename is None:
        raise error
    return f"{error.filename}: {error.strerror}"


def heed_interrupts() -> None:
    """Make Ctrl-C one line also before a command's main() has begun: importing torch takes seconds."""
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _hook


def _hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        print(STOPPED, file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


if sys.argv[:1] == ["-m"]:  # so it reads while `python -m` looks for one of our commands, and at no other time
    heed_interrupts()
    surroundings.choose_backend()  # before the command's own imports, which may bring in matplotlib
