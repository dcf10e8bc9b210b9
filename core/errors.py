"""The one exception for mistakes a user can make: its message is all they see."""

import errno
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable
from functools import wraps
from types import TracebackType
from typing import NoReturn
from urllib.parse import unquote

from core import surroundings
from core.reading.typed import printable
from core.surroundings import outlive_output as outlive_output

_SECRET = r"\b((?:\w*password|passwd|pwd|\w*token|\w*api_key)=)"
_PASSWORD = re.compile(rf"(:/{{1,2}}[^\s:/@]*):\S*@|{_SECRET}[^\s&]+", re.I)
_IN_ONE_WORD = re.compile(rf"(:/{{1,2}}[^\s:/@]*):.*@|{_SECRET}[^&]+", re.I | re.S)


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
    return _PASSWORD.sub(_stars, text)


def masked_word(text: str) -> str:
    """The same for what is one URL, name or argument: a password in it may have blanks."""
    return _IN_ONE_WORD.sub(_stars, text)


def without_password(text: str, url: str) -> str:
    """A text without the URL's password, which may stand in it apart from the URL, as a port that is no number."""
    found = re.search(r":/{1,2}[^\s:/@]*:(.+)@", url, re.S)
    for secret in {found[1], unquote(found[1])} if found else ():
        text = text.replace(secret, "***")
    return masked(text)


def _stars(found: re.Match[str]) -> str:
    return f"{found[1]}:***@" if found[1] else f"{found[2]}***"


def masked_line(words: Iterable[str]) -> str:
    """A command line as a shell would take it, passwords as ***."""
    return shlex.join(masked_word(word) for word in words)


def stop(message: str) -> NoReturn:
    """Print one message for the user and leave with status 2."""
    print(f"error: {printable(masked(message))}", file=sys.stderr)
    raise SystemExit(2)


def command(main: Callable[[], int | None]) -> Callable[[], int]:
    """Wrap a command's main(): UserError, or a file refused by the system -> one message, status 2; Ctrl-C -> 130."""

    @wraps(main)
    def run() -> int:
        """The wrapped command: returns its status, or leaves with one message."""
        surroundings.prepare()
        try:
            status = main() or 0
            _flush()
            return status
        except UserError as error:
            stop(str(error))
        except KeyboardInterrupt:
            print(STOPPED, file=sys.stderr)
            raise SystemExit(130) from None
        except TimeIsUp as end:
            print(f"{end.message}; start the same command again to go on", file=sys.stderr)
            raise
        except BrokenPipeError:  # nobody reads any more, as behind `| head -1`: the status of a program ended by it
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            raise SystemExit(141) from None
        except OSError as error:
            stop(_refused(error))

    return run


def _flush() -> None:
    """Write what standard output still holds: what is wrong with it is said, and not left to the interpreter's end."""
    if sys.stdout is None:
        raise UserError("standard output: closed, and what there was to say is not written")
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise UserError(f"standard output: {error.strerror}") from error


def _output_is_full() -> bool:
    """Whether standard output holds what it cannot write; that is then dropped."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return True
    return False


def _refused(error: OSError) -> str:
    """What the system refused, for the user; raised again if it names no file and the disk has room."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        named = error.filename or ("standard output" if _output_is_full() else None)
        where = f"{named}: " if named else ""
        return f"{where}{error.strerror}; make room and start the same command again"
    if error.filename is None and error.errno == errno.EBADF:
        return f"standard output: {error.strerror}"
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
