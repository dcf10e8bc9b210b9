"""What an agent keeps on disk of a sweep's points, so that any agent, started any time, goes on: wandb/sweep-<id>/

    points.jsonl         every point: number, the id of its first run, its values
    config-<run>.yaml    an attempt at a point was made: the values, as wandb.init reads them (WANDB_SWEEP_PARAM_PATH)
    config-<run>.json    the same for ${args_json_file}
    exit-<run>           it ended, and with which status (agent_runner.py writes it, whole)
    output-<run>.log     what it printed
    point-<number>.lock  held while it runs, by the program itself too: freed by the system, however all of them die

Nothing is edited in place and nothing is remembered elsewhere: the state of a point is which of these files are there.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml

from core.run_folder import full_disk
from core.errors import UserError
from sweeps.agents.sweep_points import Point

State = Literal["waiting", "running", "done", "failed", "interrupted"]
There = Callable[[int], bool]
"""Whether the result of a point whose program ended well is still there."""
SIGNALLED = 128
"""A status above this says that a signal ended the program."""


@dataclass(frozen=True)
class Standing:
    """How a point stands. interrupted: its program was ended by a signal or vanished, or its result did."""

    state: State
    attempts: int
    status: int | None = None


@dataclass(frozen=True)
class Claim:
    """The right to run a point now: its lock, and the id of the run to be."""

    index: int
    run: str
    lock: int

    def release(self) -> None:
        """Let go of it; a program that inherited the lock still holds it."""
        os.close(self.lock)


class Ledger:
    """The points of one sweep on disk."""

    def __init__(self, folder: Path, sweep_id: str, points: Sequence[Point], there: There = lambda index: True) -> None:
        self.folder, self.sweep_id, self.points, self.there = folder, sweep_id, points, there
        self.done: dict[int, Standing] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{folder}: cannot be made ({error.strerror}); WANDB_DIR names another place") from error
        self._list()

    def _list(self) -> None:
        """Write all points down. Raises UserError if others are there: what is done would stand for what never ran."""
        rows = [{"point": i, "run": self.run_id(i, 1), "values": point} for i, point in enumerate(self.points)]
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        path = self.folder / "points.jsonl"
        known = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
        for number, (old, new) in enumerate(zip(known, lines, strict=False), 1):
            if old != new:
                said = f"the sweep of this id has another point here than {self.points[number - 1]}"
                raise UserError(f"{path}:{number}: {said}; give another --sweep-id, or remove that folder")
        if len(lines) > len(known):
            self._write("points.jsonl", "\n".join([*lines, ""]))

    def run_id(self, index: int, attempt: int) -> str:
        """The W&B id of an attempt: each has its own, so that a failed one stays to be seen."""
        return f"{self.sweep_id}-{index:03d}" + (f"-{attempt}" if attempt > 1 else "")

    def path(self, kind: str, run: str, suffix: str = "") -> Path:
        """One of the files of an attempt."""
        return self.folder / f"{kind}-{run}{suffix}"

    def standing(self, index: int, names: Container[str] | None = None) -> Standing:
        """How a point stands, by its files; names: those in the folder, where they are known already."""
        if index in self.done:
            return self.done[index]
        names = set(os.listdir(self.folder)) if names is None else names
        attempts = self._attempts(index, names)
        if not attempts and self._lock_path(index).name not in names:
            return Standing("waiting", 0)
        held = self._held(index)  # before the look at the status, which is there when the lock goes
        status = self._status(index, attempts) if attempts else None
        if status is None or (status == 0 and not self.there(index)):
            return Standing("running" if held else "interrupted" if attempts else "waiting", attempts)
        if status == 0:
            return self.done.setdefault(index, Standing("done", attempts, status))
        return Standing("interrupted" if status > SIGNALLED else "failed", attempts, status)

    def _attempts(self, index: int, names: Container[str]) -> int:
        count = 0
        while self.path("config", self.run_id(index, count + 1), ".yaml").name in names:
            count += 1
        return count

    def _status(self, index: int, attempt: int) -> int | None:
        with contextlib.suppress(OSError, ValueError):
            return int(self.path("exit", self.run_id(index, attempt)).read_text())
        return None

    def _lock_path(self, index: int) -> Path:
        return self.folder / f"point-{index:03d}.lock"

    def _held(self, index: int) -> bool:
        """Whether somebody runs it. A look takes a shared lock, so that looks do not hinder each other."""
        with contextlib.suppress(FileNotFoundError), open(self._lock_path(index)) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def claim(self, index: int) -> Claim | None:
        """Take a point that is not done; None if somebody else has it or it is done by now."""
        lock = os.open(self._lock_path(index), os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        standing = self.standing(index)
        if standing.state == "done":
            os.close(lock)
            return None
        return Claim(index, self.run_id(index, standing.attempts + 1), lock)

    def begin(self, claim: Claim) -> Path:
        """Write the values for wandb.init, which marks the attempt as made; returns the file."""
        values = {name: {"value": value} for name, value in self.points[claim.index].items()}
        text = "wandb_version: 1\n\n" + yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
        self._write(f"config-{claim.run}.json", json.dumps(self.points[claim.index]))
        return self._write(f"config-{claim.run}.yaml", text)

    def _write(self, name: str, text: str) -> Path:
        """A whole file, or none."""
        path = self.folder / name
        draft = self.folder / f".{name}.{os.getpid()}.tmp"
        with full_disk(path):
            draft.write_text(text, encoding="utf-8")
            os.replace(draft, path)
        return path

    def standings(self) -> Iterator[Standing]:
        """How all points stand, at one look into the folder."""
        names = set(os.listdir(self.folder))
        return (self.standing(index, names) for index in range(len(self.points)))
