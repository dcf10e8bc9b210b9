"""What a process does on signals. Handlers are set here and nowhere else, by commands and by what they start."""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

Handler = Callable[[int, FrameType | None], object]


def end_on_sigterm(grace: float | None = None) -> None:
    """From now on SIGTERM ends this process in order, by SystemExit with status 143; a second one is ignored.

    grace: seconds that this may take; then the process ends at once, whatever it is doing.
    """

    def end(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)
        if grace is not None:
            timer = threading.Timer(grace, os._exit, args=(128 + number,))
            timer.daemon = True
            timer.start()
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)


def ignore_ctrl_c() -> None:
    """From now on Ctrl-C is for another process to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def handle(handler: Handler) -> None:
    """From now on SIGTERM and Ctrl-C call `handler(number, frame)`."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)
