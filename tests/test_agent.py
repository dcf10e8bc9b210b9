"""The agent without a server, with real programs: each point once, whatever is killed; nothing lost."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from sweeps import agent
from sweeps.agents import sweep_file
from sweeps.agents.agent_ledger import Ledger
from sweeps.agents.sweep_points import points

ROOT = Path(__file__).parents[1]

PROGRAM = """
import json, os, signal, sys, time
x = dict(part[2:].split("=", 1) for part in sys.argv[1:])["x"]
with open("ran", "a") as file:
    file.write(f"{x} {os.environ['WANDB_RUN_ID']} {os.getpid()}\\n")
what = json.load(open("behaviour.json")).get(x, "quick")
times = sum(line.split()[0] == x for line in open("ran"))
print("about to", what, flush=True)
if what == "fail" or what == "fail once" and times == 1:
    sys.exit("no luck")
if what == "brisk":
    time.sleep(0.3)
if what == "wait":
    while not os.path.exists("go"):
        time.sleep(0.05)
if what == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    open("deaf", "w").close()
    time.sleep(60)
"""


ARMS = "method: grid\nprogram: sweeps/arm.py\nparameters:\n  study: {value: noise_factor}"


class Desk:
    """A user's folder with a program, a sweep file over x, and agents that are started there."""

    def __init__(self, folder: Path, count: int, **behaviour: str) -> None:
        self.folder, self.file = folder, folder / "sweep.yaml"
        (folder / "train.py").write_text(PROGRAM)
        command = ["${env}", sys.executable, "-S", "${program}", "${args}"]
        parameters = {"x": {"values": [f"x{i}" for i in range(count)]}}
        content = {"program": "train.py", "method": "grid", "parameters": parameters, "command": command}
        self.file.write_text(yaml.safe_dump(content))
        self.behave(**behaviour)

    def behave(self, **behaviour: str) -> None:
        """What the program does at a point."""
        (self.folder / "behaviour.json").write_text(json.dumps(behaviour))

    def start(self, *options: str) -> subprocess.Popen[str]:
        """An agent in a process of its own."""
        env = os.environ | {"PYTHONPATH": str(ROOT)}
        heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # ignored where the tests run in the background
        line = [sys.executable, "-m", "sweeps.agent", "sweep.yaml", *options]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            line, cwd=self.folder, env=env, stdout=pipe, stderr=pipe, text=True, start_new_session=True, preexec_fn=heed
        )

    def agent(self, *options: str) -> tuple[int, str]:
        """An agent from start to end: its status, and what it said."""
        process = self.start(*options)
        out, err = process.communicate(timeout=120)
        assert "Traceback" not in err, err
        return process.returncode, out + err

    def ran(self) -> dict[str, int]:
        """How often the program was started at each point."""
        lines = (self.folder / "ran").read_text().splitlines() if (self.folder / "ran").exists() else []
        return dict(sorted(Counter(line.split()[0] for line in lines).items()))

    def pids(self) -> list[int]:
        """The programs that were started."""
        return [int(line.split()[2]) for line in (self.folder / "ran").read_text().splitlines()]

    def ledger(self) -> Ledger:
        """What is on disk."""
        file = sweep_file.load(self.file)
        return Ledger(self.folder / "wandb" / f"sweep-{file.sweep_id}", file.sweep_id, points(file))

    def states(self) -> list[str]:
        """How the points stand."""
        return [standing.state for standing in self.ledger().standings()]


def once(count: int) -> dict[str, int]:
    """Each point once."""
    return {f"x{i}": 1 for i in range(count)}


def until(condition: Callable[[], Any], seconds: float = 60.0) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent sets these itself."""
    for name in ("WANDB_MODE", "WANDB_RUN_GROUP", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)


def test_each_point_once_and_the_same_again_does_nothing(tmp_path: Path) -> None:
    desk = Desk(tmp_path, 5)
    status, said = desk.agent("--workers", "2")
    assert status == 0 and "5 of 5 points" in said and desk.ran() == once(5)
    rows = [json.loads(line) for line in (desk.ledger().folder / "points.jsonl").read_text().splitlines()]
    assert [row["values"] for row in rows] == [{"x": f"x{i}"} for i in range(5)]
    status, said = desk.agent()
    assert status == 0 and "5 of 5 points" in said and desk.ran() == once(5)


def test_failed_points_are_tried_twice_and_again_by_the_next_agent(tmp_path: Path) -> None:
    desk = Desk(tmp_path, 3, x0="fail", x1="fail once")
    status, said = desk.agent()
    assert status == 1 and "about to fail" in said and "point 1: failed, status 1: x=x0" in said
    assert desk.ran() == {"x0": 2, "x1": 2, "x2": 1}
    runs = [line.split()[1].split("-", 1)[1] for line in (tmp_path / "ran").read_text().splitlines()]
    assert sorted(runs) == ["000", "000-2", "001", "001-2", "002"], "an attempt is a run of its own"
    desk.behave()
    assert desk.agent()[0] == 0
    assert desk.ran() == {"x0": 3, "x1": 2, "x2": 1}


def test_a_program_that_always_fails_is_given_up(tmp_path: Path) -> None:
    desk = Desk(tmp_path, 4, x0="fail", x1="fail", x2="fail")
    status, said = desk.agent()
    assert status == 2 and "3 points failed and none is done" in said and sum(desk.ran().values()) == 3
    status, said = desk.agent("--keep-going", "--workers", "2")
    assert status == 1 and "1 of 4 points" in said


def test_two_agents_share_the_points(tmp_path: Path) -> None:
    desk = Desk(tmp_path, 8, **{f"x{i}": "brisk" for i in range(8)})
    both = [desk.start("--workers", "2"), desk.start("--workers", "2")]
    for process in both:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, out + err
    assert desk.ran() == once(8)


def test_agent_killed_its_programs_go_on_and_the_next_agent_waits_for_them(tmp_path: Path) -> None:
    desk = Desk(tmp_path, 4, x0="wait", x1="wait")
    first = desk.start("--workers", "2")
    until(lambda: len(desk.ran()) == 2)
    first.kill()
    first.communicate()
    second = desk.start("--workers", "2")
    until(lambda: len(desk.ran()) == 4)
    assert desk.states()[:2] == ["running", "running"]
    (tmp_path / "go").touch()
    out, err = second.communicate(timeout=120)
    assert second.returncode == 0, out + err
    assert desk.ran() == once(4), "no result of the killed agent is lost, and none is made twice"


def test_everything_killed_is_done_again(tmp_path: Path) -> None:
    desk = Desk(tmp_path, 3, x0="wait", x1="wait")
    first = desk.start("--workers", "2")
    until(lambda: len(desk.ran()) == 2)
    os.killpg(first.pid, signal.SIGKILL)
    for pid in desk.pids():
        os.killpg(os.getpgid(pid), signal.SIGKILL)
    first.communicate()
    until(lambda: desk.states()[:2] == ["interrupted", "interrupted"])
    (tmp_path / "go").touch()
    assert desk.agent()[0] == 0
    assert desk.ran() == {"x0": 2, "x1": 2, "x2": 1}


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_it_ends_its_programs_and_the_next_goes_on(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    desk = Desk(tmp_path, 3, x1="wait")
    first = desk.start()
    until(lambda: "x1" in desk.ran())
    first.send_signal(number)
    _, err = first.communicate(timeout=60)
    assert first.returncode == status and "1 of 3 points are done" in err and "Traceback" not in err
    assert desk.states() == ["done", "interrupted", "waiting"]
    assert not any(Path(f"/proc/{pid}").exists() for pid in desk.pids())
    (tmp_path / "go").touch()
    assert desk.agent()[0] == 0
    assert desk.ran() == {"x0": 1, "x1": 2, "x2": 1}


def test_a_program_that_will_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(tmp_path, 1, x0="stubborn")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(agent, "GRACE_SECONDS", 0.3)
    mine = agent.Agent(sweep_file.load(desk.file), desk.ledger(), workers=1)
    monkeypatch.setattr(mine, "_remind", lambda: interrupt() if (tmp_path / "deaf").exists() else None)
    with pytest.raises(KeyboardInterrupt):
        mine.run()
    until(lambda: desk.states() == ["interrupted"])


def test_a_second_interruption_kills_a_program_that_will_not_end(tmp_path: Path) -> None:
    desk = Desk(tmp_path, 2, x0="stubborn")
    first = desk.start()
    until((tmp_path / "deaf").exists)
    first.send_signal(signal.SIGINT)
    assert first.stderr is not None
    said = first.stderr.readline()
    assert "ending the programs" in said
    first.send_signal(signal.SIGINT)
    _, err = first.communicate(timeout=20)
    assert first.returncode == 130 and "0 of 2 points are done" in err and "Traceback" not in err, err
    (pid,) = desk.pids()
    until(lambda: not Path(f"/proc/{pid}").exists(), 10)
    assert desk.states() == ["interrupted", "waiting"]


def interrupt() -> None:
    """Ctrl-C."""
    raise KeyboardInterrupt


def test_how_points_stand_without_running_them(tmp_path: Path) -> None:
    desk = Desk(tmp_path, 3)
    assert desk.agent("--count", "1")[0] == 0
    status, said = desk.agent("--dry-run")
    assert status == 1 and "point 2: waiting: x=x1" in said and "1 of 3 points" in said and desk.ran() == once(1)


def test_a_program_of_the_users_gets_nested_values_from_wandb(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(
        "import json, sys, wandb\n"
        "with wandb.init(settings={'silent': True, 'console': 'off'}) as run:\n"
        "    found = [dict(run.config), run.id, run.sweep_id, run.group, run.project]\n"
        "    json.dump([*found, sys.argv[1:]], open('seen.json', 'w'))\n"
    )
    (tmp_path / "mine.yaml").write_text(
        "{name: mine, project: theirs, program: train.py, method: random, run_cap: 1, parameters: {"
        "epochs: {min: 3, max: 3}, optimizer: {parameters: {lr: {value: 0.5}, kind: {values: [adam]}}}}}"
    )
    line = [sys.executable, "-m", "sweeps.agent", "mine.yaml"]
    env = os.environ | {"PYTHONPATH": str(ROOT), "WANDB_SERVICE": "gone"}
    done = subprocess.run(line, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    sweep_id = sweep_file.load(tmp_path / "mine.yaml").sweep_id
    optimizer = {"kind": "adam", "lr": 0.5}
    config, *names, argv = json.loads((tmp_path / "seen.json").read_text())
    assert config == {"epochs": 3, "optimizer": optimizer}
    assert names == [f"{sweep_id}-000", sweep_id, "mine", "theirs"]
    assert argv == ["--epochs=3", f"--optimizer={optimizer}"], "one argument for a nested parameter, as wandb agent"
    assert f"wandb sync {tmp_path}/wandb/offline-run-*-{sweep_id}-*" in done.stdout
    assert list(tmp_path.glob(f"wandb/offline-run-*-{sweep_id}-000/run-*.wandb"))


@pytest.mark.parametrize(
    ("options", "text", "wrong"),
    [
        (["--workers", "0"], "method: grid\nparameters: {x: {value: 1}}", "must be at least 1"),
        (["--sweep-id", "a/b"], "program: t.py\nmethod: grid\nparameters: {x: {value: 1}}", "give the id alone"),
        ([], "program: none.py\nmethod: grid\nparameters: {x: {value: 1}}", "w.yaml:1: program 'none.py' is not there"),
        (
            [],
            f"{ARMS}\n  noise_factor: {{value: 4}}\n  folder: {{value: a b}}",
            "w.yaml:6: --folder a b: names a folder",
        ),
        ([], f"{ARMS}\n  noise_factor: {{values: [4, 5]}}", "w.yaml:5: --noise_factor: 5 is no level of this factor"),
        ([], "method: bayes\nparameters: {x: {value: 1}}", "w.yaml:1: method `bayes` needs W&B's server"),
        ([], "program: t.py\nmethod: random\nparameters: {x: {value: 1}}", "w.yaml:2: method random has no end"),
    ],
)
def test_what_is_wrong_is_one_message(
    options: list[str], text: str, wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("t.py").touch()
    Path("sweeps").mkdir()
    Path("sweeps/arm.py").touch()
    Path("w.yaml").write_text(text)
    monkeypatch.setattr(sys, "argv", ["agent", "w.yaml", *options])
    with pytest.raises(SystemExit, match="2"):
        agent.command(agent.main)()
    assert wrong in capsys.readouterr().err
    assert not Path("wandb").exists()
