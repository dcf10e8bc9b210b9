"""Run a W&B sweep file with no server: as `wandb agent` would, point by point, on as many workers as wanted.

    python -m sweeps.agent sweeps/wandb/modules.yaml --workers 2
    python -m sweeps.agent my_sweep.yaml --count 20             # a random sweep without run_cap: its first 20 points
    python -m sweeps.agent my_sweep.yaml --dry-run              # how its points stand

Any sweep file and any program: each point's program is started with what `wandb agent` gives it (WANDB_SWEEP_ID,
WANDB_RUN_ID, WANDB_SWEEP_PARAM_PATH, WANDB_PROJECT, WANDB_RUN_GROUP), so that its W&B run has the sweep's values, and
`wandb sync` sends it later with its sweep id. Runs are offline unless WANDB_MODE says otherwise. The sweep's id comes
from the file's content: started again, however it ended, an agent does what is missing; points that are done stay done,
failed ones get another chance. Several agents on one file share the points.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from ablations import command_line
from core.errors import UserError, command
from core.signals import end_on_sigterm
from sweeps.agents import agent_command, sweep_file
from sweeps.agents.agent_ledger import Claim, Ledger, Standing, There
from sweeps.agents.sweep_file import SweepFile
from sweeps.agents.sweep_points import Point, points
from sweeps.running import pool
from sweeps.running.display import duration
from sweeps.wb import connection, tracking

TRIES = 2
"""A point that fails is tried once more."""
GIVE_UP = 3
"""So many points that fail before any is done end the agent: then it is the program, not the point."""
POLL_SECONDS = 0.2
IDLE_SECONDS = 1.0
"""How often to look after programs, and how often at the points that other agents run."""
REMINDER_SECONDS = 120.0
SERVICE = "WANDB_SERVICE"
"""Names the service process of a W&B run under way where the agent was started; a program needs one of its own."""
GRACE_SECONDS = 30.0
"""How long programs may take to end when the agent is told to (W&B's agent: 30)."""
RUNNER = [sys.executable, "-I", str(Path(__file__).with_name("agents") / "agent_runner.py")]


@dataclass(frozen=True)
class Options:
    """Run a W&B sweep file with no server."""

    file: Annotated[Path, tyro.conf.Positional]
    """The sweep file (YAML)."""
    workers: int = 1
    """Programs at a time; on GPUs each gets one of them, in turn."""
    count: int | None = None
    """Only the first N points of the sweep; none = all (of a random sweep: run_cap)."""
    sweep_id: str | None = None
    """Id of the sweep, such as that of a registered one; none = made from the file's content."""
    keep_going: bool = False
    """Go on though the first points all fail."""
    dry_run: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Say how the points stand, and stop: status 1 while some are not done."""


def main() -> int:
    """The command: status 0 when every point is done, 1 when some failed."""
    options = command_line.read(Options, prog="python -m sweeps.agent", description=__doc__)
    connection.check_mode()
    if options.workers < 1 or (options.count is not None and options.count < 1):
        raise UserError("--workers and --count must be at least 1")
    file = sweep_file.load(options.file)
    found = points(file, options.count)
    if not found:
        raise file.error(("parameters",), "these parameters have no point at all")
    agent_command.check(file, found[0])
    sweep_id = options.sweep_id or file.sweep_id
    if not re.fullmatch(r"[\w-]+", sweep_id):
        raise UserError(f"--sweep-id {sweep_id}: give the id alone, without entity and project")
    ledger = Ledger(home() / f"sweep-{sweep_id}", sweep_id, found, truth_of(file, found))
    agent = Agent(file, ledger, options.workers, options.keep_going)
    if options.dry_run:
        return agent.report()
    end_on_sigterm()
    return agent.run()


def home() -> Path:
    """The wandb folder: in WANDB_DIR, or here, as of `wandb agent`."""
    return Path(os.environ.get("WANDB_DIR") or ".").resolve() / "wandb"


def truth_of(file: SweepFile, found: Sequence[Point]) -> There:
    """Says whether a point's result is there: an arm's truth is its run folder, other programs have only a status.

    Raises UserError for a point that is no arm, before anything is run.
    """
    if not file.of_arms:
        return lambda index: True
    from sweeps.running import order  # on demand: brings in Optuna and more, which other programs do not need

    made = [order.ordered(file, point) for point in found]
    return lambda index: order.finished(made[index])


@dataclass
class Program:
    """A program that runs."""

    claim: Claim
    slot: int
    process: subprocess.Popen[bytes]
    started: float = field(default_factory=time.monotonic)


class Agent:
    """Works through the points of one sweep."""

    def __init__(self, file: SweepFile, ledger: Ledger, workers: int, keep_going: bool = False) -> None:
        self.file, self.ledger, self.workers, self.keep_going = file, ledger, workers, keep_going
        self.devices = pool.gpus()
        self.running: list[Program] = []
        self.before = [standing.attempts for standing in ledger.standings()]
        self.spoke = time.monotonic()
        self.waited = False

    # The loop

    def run(self) -> int:
        """Until every point is done or has failed too often; returns the command's status."""
        self._say(f"{self.file.path}: {len(self.before)} points, sweep {self.ledger.sweep_id}, {self.ledger.folder}")
        try:
            while True:
                if self._reap():
                    continue
                if len(self.running) < self.workers:
                    standings = list(self.ledger.standings())
                    self._check_hope(standings)
                    open_points = [i for i, standing in enumerate(standings) if self._open(i, standing)]
                    if not open_points and not self.running:
                        return self.report()
                    self._fill(open_points, standings)
                self._remind()
                time.sleep(POLL_SECONDS if self.running else IDLE_SECONDS)
        except BaseException:
            self._stop()
            raise

    def _open(self, index: int, standing: Standing) -> bool:
        """Whether something may still happen to a point."""
        if standing.state in ("done", "running"):
            return standing.state == "running"
        return standing.attempts - self.before[index] < TRIES

    def _check_hope(self, standings: list[Standing]) -> None:
        """Raises UserError when nothing but failures has come of it."""
        tried = [s for i, s in enumerate(standings) if s.state == "failed" and s.attempts > self.before[i]]
        if self.keep_going or len(tried) < GIVE_UP or any(s.state == "done" for s in standings):
            return
        logs = self.ledger.path("output", "*", ".log")
        raise UserError(f"{len(tried)} points failed and none is done; see {logs}. --keep-going tries the others too")

    # Programs

    def _fill(self, open_points: list[int], standings: list[Standing]) -> None:
        """Start programs on free slots; points that failed come after those never tried."""
        for index in sorted(open_points, key=lambda i: standings[i].attempts - self.before[i]):
            if len(self.running) >= self.workers:
                return
            if standings[index].state != "running" and (claim := self.ledger.claim(index)) is not None:
                self._start(claim)

    def _start(self, claim: Claim) -> None:
        slot = min(set(range(self.workers)) - {program.slot for program in self.running})
        try:
            config = self.ledger.begin(claim)
            line = agent_command.command(self.file, self.ledger.points[claim.index], str(config.with_suffix(".json")))
            exit_path = str(self.ledger.path("exit", claim.run))
            with open(self.ledger.path("output", claim.run, ".log"), "ab") as output:
                process = subprocess.Popen(
                    [*RUNNER, exit_path, str(claim.lock), *line],
                    env=self._environment(claim, slot, config),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    pass_fds=[claim.lock],
                    process_group=0,  # Ctrl-C is the agent's to handle
                )
        finally:
            claim.release()  # the runner has inherited the lock
        self.running.append(Program(claim, slot, process))
        self._say(f"started   {self._name(claim)}: {_words(self.ledger.points[claim.index])}")

    def _environment(self, claim: Claim, slot: int, config: Path) -> dict[str, str]:
        """What `wandb agent` gives a program; what the user has set stays."""
        content, here = self.file.content, os.environ
        given = {
            "WANDB_SWEEP_ID": self.ledger.sweep_id,
            "WANDB_RUN_ID": claim.run,
            "WANDB_SWEEP_PARAM_PATH": str(config),
            "WANDB_DIR": str(self.ledger.folder.parent.parent),
            "WANDB_PROJECT": here.get("WANDB_PROJECT") or str(content.get("project") or tracking.PROJECT),
            "WANDB_MODE": here.get("WANDB_MODE") or "offline",
        }
        if not self.file.of_arms:  # an arm's group is its study
            name = str(content.get("name") or self.ledger.folder.name)
            given["WANDB_RUN_GROUP"] = here.get("WANDB_RUN_GROUP") or name
        if entity := here.get("WANDB_ENTITY") or content.get("entity"):
            given["WANDB_ENTITY"] = str(entity)
        return {k: v for k, v in pool.environment(slot, self.devices).items() if k != SERVICE} | given

    def _reap(self) -> bool:
        """Say which programs have ended; True if some have."""
        ended = [program for program in self.running if program.process.poll() is not None]
        self.running = [program for program in self.running if program not in ended]
        for program in ended:
            name, seconds = self._name(program.claim), duration(time.monotonic() - program.started)
            status, log = program.process.returncode, self.ledger.path("output", program.claim.run, ".log")
            if status == 0:
                left = sum(standing.state != "done" for standing in self.ledger.standings())
                self._say(f"finished  {name} in {seconds}; {left} of {len(self.before)} points left")
            else:
                self._say(f"failed    {name} after {seconds}, status {status}; {log}\n{_indented(pool.tail(log))}")
        return bool(ended)

    def _stop(self) -> None:
        """End all programs: told first, killed when they take too long, or at a second Ctrl-C."""
        with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
            if self.running:
                print("ending the programs, which may take some seconds", file=sys.stderr, flush=True)
            for program in self.running:
                program.process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + GRACE_SECONDS
            for program in self.running:
                program.process.wait(max(0.0, deadline - time.monotonic()))
        for program in self.running:
            if program.process.poll() is None:
                os.killpg(program.process.pid, signal.SIGKILL)
            program.process.wait()
        done = sum(standing.state == "done" for standing in self.ledger.standings())
        print(f"{done} of {len(self.before)} points are done", file=sys.stderr)

    # Words

    def _name(self, claim: Claim) -> str:
        return f"point {claim.index + 1}/{len(self.before)} (run {claim.run})"

    def _say(self, text: str) -> None:
        print(time.strftime("%H:%M:%S"), text, flush=True)
        self.spoke = time.monotonic()

    def _remind(self) -> None:
        idle = not self.running and not self.waited  # what is open is run by somebody else
        self.waited = not self.running
        if not idle and time.monotonic() - self.spoke < REMINDER_SECONDS:
            return
        standings = list(self.ledger.standings())
        running = ", ".join(str(i + 1) for i, standing in enumerate(standings) if standing.state == "running")
        whose = " (of another agent, or of one that was killed)" * (not self.running)
        done = sum(standing.state == "done" for standing in standings)
        self._say(f"running   points {running or '-'}{whose}; {done} of {len(standings)} done")

    def report(self) -> int:
        """Say how the points stand, and how W&B gets them; returns the command's status."""
        standings = list(self.ledger.standings())
        for index, standing in enumerate(standings):
            if standing.state != "done":
                again = f", status {standing.status}" if standing.status is not None else ""
                print(f"point {index + 1}: {standing.state}{again}: {_words(self.ledger.points[index])}")
        done = sum(standing.state == "done" for standing in standings)
        print(f"{done} of {len(standings)} points of sweep {self.ledger.sweep_id} are done; {self.ledger.folder}")
        runs = self.ledger.folder.parent / f"offline-run-*-{self.ledger.sweep_id}-*"
        if any(runs.parent.glob(runs.name)):
            print(f"to send them to W&B: wandb sync {runs}")
        return int(done < len(standings))


def _words(point: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in point.items()).replace("\n", "\\n")


def _indented(text: str) -> str:
    return "".join(f"  | {line}\n" for line in text.splitlines()).rstrip("\n")


if __name__ == "__main__":
    sys.exit(command(main)())
