"""Run one command and write down how it ended: python agent_runner.py EXIT LOCK COMMAND...

The agent starts this between itself and a program. Killed itself, it loses no result: the runner outlives it, and holds
the point's lock (file descriptor LOCK, inherited) as long as the program runs. EXIT appears, whole, with the status.
Nothing but the standard library is imported: it starts in some 20 milliseconds.
"""

import os
import signal
import subprocess
import sys
from typing import Any

NOT_FOUND = 127


def main() -> int:
    """The command; returns the program's status, 128 and the signal's number if a signal ended it."""
    path, lock, *command = sys.argv[1:]
    told: list[int] = []
    child: subprocess.Popen[bytes] | None = None

    def forward(signum: int, frame: Any) -> None:
        told.append(signum)
        if child is not None:
            child.send_signal(signum)

    signal.signal(signal.SIGTERM, forward)
    signal.signal(signal.SIGINT, forward)
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[int(lock)])
    except OSError as error:
        print(f"{command[0]}: cannot be started ({error.strerror})", file=sys.stderr)
        status = NOT_FOUND
    else:
        if told:
            child.send_signal(told[-1])
        code = child.wait()
        status = code if code >= 0 else 128 - code
    with open(f"{path}.part", "w") as file:
        file.write(f"{status}\n")
    os.replace(f"{path}.part", path)
    return status


if __name__ == "__main__":
    sys.exit(main())
