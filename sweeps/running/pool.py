"""The worker processes of one sweep: started, replaced when they die, ended with it."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from core.errors import UserError
from core.reading.typed import printable
from core.signals import ignore_ctrl_c

ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
FAILED_STARTS = 3
"""So many workers in a row that die before they take a run end the sweep."""
GRACE_SECONDS = 20.0
"""How long a worker told to end may take before it ends at once."""


def cores() -> int:
    """Processor cores that this process may use: affinity and container limit counted."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        count = min(count, max(1, int(quota) // int(period)))
    return count


def gpus() -> list[str]:
    """The GPUs that torch can use, as CUDA_VISIBLE_DEVICES names them."""
    if shutil.which("nvidia-smi") is None:
        return []
    import torch  # slow to import; without a GPU nobody waits for it

    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    count = torch.cuda.device_count()
    return visible[:count] if visible != [""] else [str(i) for i in range(count)]


def gpu_memory() -> float:
    """Bytes of memory of the smallest GPU that torch can use."""
    import torch

    return float(min(torch.cuda.get_device_properties(i).total_memory for i in range(torch.cuda.device_count())))


def environment(slot: int, devices: Sequence[str]) -> dict[str, str]:
    """A worker's environment: one thread (two workers' spinning threads would slow each other), and one GPU."""
    env = dict.fromkeys(ONE_THREAD, "1") | dict(os.environ)
    env |= {"TOKENIZERS_PARALLELISM": "false", "PYTHONUNBUFFERED": "1"}
    return env | ({"CUDA_VISIBLE_DEVICES": devices[slot % len(devices)]} if devices else {})


def worker_command(worker: Sequence[str], queue: str, folder: Path, metric: str) -> list[str]:
    """How a worker of a study's folder is started; the storage comes by the environment: it may hold a password."""
    where = ["--queue", queue, "--study", folder.name, "--runs", str(folder.parent)]
    return [*worker, *where, "--metric", metric, "--wanted", "-"]


class Pool:
    """Up to `size` workers running `command`; each reads the wanted runs from its standard input, whose end ends it.

    `extra` is added to their environment. The pipe is what ties them to the sweep: however the sweep dies, its workers
    see the end of it.
    """

    def __init__(
        self,
        command: Sequence[str],
        size: int,
        wanted: Iterable[str],
        log: Path,
        devices: Sequence[str] = (),
        extra: Mapping[str, str] | None = None,
    ) -> None:
        self.extra = dict(extra or {})
        self.command, self.size, self.log, self.devices = list(command), size, log, list(devices)
        self.wanted = json.dumps(list(wanted)) + "\n"
        self.workers: dict[int, subprocess.Popen[bytes]] = {}
        self.useful: set[int] = set()
        self.failed_starts = 0

    def maintain(self, waiting: int, busy: Mapping[int, str]) -> bool:
        """Note which have ended, and start what `waiting` runs need; `busy`: pid -> run. True if one has ended.

        Raises UserError if workers keep dying before they take a run.
        """
        self.useful |= busy.keys() & {worker.pid for worker in self.workers.values()}
        ended = [slot for slot, worker in self.workers.items() if worker.poll() is not None]
        for slot in ended:
            self._note_exit(self.workers.pop(slot))
        idle = sum(worker.pid not in busy for worker in self.workers.values())
        for slot in [slot for slot in range(self.size) if slot not in self.workers][: max(0, waiting - idle)]:
            self.workers[slot] = self._start(slot)
        return bool(ended)

    def _note_exit(self, worker: subprocess.Popen[bytes]) -> None:
        _close(worker)
        useless = worker.returncode != 0 and worker.pid not in self.useful
        self.failed_starts = self.failed_starts + 1 if useless else 0
        if self.failed_starts >= FAILED_STARTS:
            raise UserError(f"workers die before they take a run (see {self.log}):\n{tail(self.log)}")

    def _start(self, slot: int) -> subprocess.Popen[bytes]:
        with open(self.log, "ab") as log:
            worker = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=environment(slot, self.devices) | self.extra,
                start_new_session=True,  # Ctrl-C reaches the sweep alone, which ends them in order
            )
        with contextlib.suppress(BrokenPipeError):
            worker.stdin.write(self.wanted.encode())  # type: ignore[union-attr]
            worker.stdin.flush()  # type: ignore[union-attr]
        return worker

    def wait(self, seconds: float) -> None:
        """Let workers that find nothing more to do end by themselves."""
        deadline = time.monotonic() + seconds
        for worker in self.workers.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.wait(max(0.0, deadline - time.monotonic()))

    def stop(self, seconds: float) -> None:
        """End all workers: SIGTERM, so that they close what they do; after `seconds`, or a second Ctrl-C, SIGKILL."""
        for worker in self.workers.values():
            _signal(worker, signal.SIGTERM)
        with contextlib.suppress(KeyboardInterrupt):
            self.wait(seconds)
        for worker in self.workers.values():
            if worker.poll() is None:
                _signal(worker, signal.SIGKILL)
            worker.wait()
            _close(worker)
        self.workers.clear()


def _signal(worker: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        worker.send_signal(number)


def _close(worker: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        worker.stdin.close()  # type: ignore[union-attr]


def follow_parent() -> frozenset[str]:
    """In a worker: which runs the sweep wants. From now on this process ends, as on SIGTERM, when the sweep does."""
    wanted = frozenset(json.loads(sys.stdin.readline() or "[]"))
    ignore_ctrl_c()  # the sweep's to handle

    def end_with_input() -> None:
        while os.read(0, 4096):  # not sys.stdin: its lock would be held when the interpreter ends
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=end_with_input, daemon=True).start()
    return wanted


def tail(path: Path, lines: int = 8) -> str:
    """The last lines of a log file."""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        file.seek(max(file.seek(0, os.SEEK_END) - 8192, 0))
        text = file.read().decode(errors="replace").replace("\r\n", "\n")
        return "\n".join(map(printable, text.rstrip("\n").split("\n")[-lines:]))
    return ""
