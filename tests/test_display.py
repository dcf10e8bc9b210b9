"""What commands show: of a sweep and a search time left, standings, the screen; of one piece of work how far it is."""

import errno
import importlib
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Sequence
from dataclasses import replace
from fcntl import ioctl
from pathlib import Path
from typing import Any

import pytest
from fake_runs import write_study
from fake_sweep import UPDATES, jobs_for
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from ablations import launch
from ablations.place import Place
from ablations.presets import get
from ablations.show_training import ShownTraining
from analysis.figures import drawing, score_steps
from analysis.load import load
from core import display as lines
from core import watching
from core.errors import UserError
from core.sections import TrainingConfig
from sweeps.running import display, progress
from sweeps.tuning.display import SearchScreen, SearchStanding

ROOT = Path(__file__).resolve().parent.parent


def view(arm: str, state: str, seed: int = 1, **fields: Any) -> progress.View:
    """A run as it may stand."""
    job = next(job for job in jobs_for([arm], seed) if job.seed == seed)
    return progress.View(job, state, **fields)


def test_time_left_by_arm_and_by_progress() -> None:
    assert progress.time_left([view("a", "pending")], 1) is None
    assert progress.time_left([view("a", "finished", seconds=10.0)], 1) == 0.0
    done = [view("a", "finished", seconds=10.0), view("b", "finished", seconds=30.0)]
    ahead = [view("a", "pending", 2), view("b", "running", 2, seconds=12.0)]
    assert progress.time_left(done + ahead, 1) == 10 + 18
    assert progress.time_left(done + ahead, 2) == 18, "no sooner than its longest run"
    half = view("a", "running", done=UPDATES // 2, seconds=10.0)
    assert progress.time_left([half], 1) == pytest.approx(20 * progress.AFTER_TRAINING - 10)


def test_standings_are_means_over_seeds_best_first() -> None:
    rows = [
        view("a", "finished", 1, score=10.0),
        view("a", "finished", 2, score=20.0),
        view("b", "finished", score=16.0),
    ]
    assert progress.standings([*rows, view("c", "running", score=99.0)]) == [("B", 16.0, 1), ("A", 15.0, 2)]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 24), (60, 10), (140, 50)])
def test_the_screen_fits_the_terminal(width: int, height: int) -> None:
    views = [view(f"arm{i}", "running", done=3, loss=0.5, score=12.3, seconds=9.0) for i in range(20)]
    views += [view(f"done{i}", "finished", score=float(i), seconds=30.0) for i in range(20)]
    views += [view("bad", "failed", reason="x" * 300)]
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True)
    console.print(display.Screen(["s", "a test bench"], 2, "bleu", console).draw(views))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(lines) <= height
    assert "20 of 41 done, 1 failed" in console.file.getvalue()  # type: ignore[attr-defined]
    assert "3/8" in console.file.getvalue() and "19.00" in console.file.getvalue()  # type: ignore[attr-defined]


def test_plain_lines_begin_with_how_things_stand() -> None:
    fresh, resumed = io.StringIO(), io.StringIO()
    display.Lines(1, "bleu", fresh).show([view("a", "pending"), view("b", "pending")])
    assert fresh.getvalue() == "", "nothing has happened yet"
    lines = display.Lines(1, "bleu", resumed)
    for _ in range(2):
        lines.show([view("a", "finished", seconds=9.0), view("b", "running", done=3)])
    (line,) = resumed.getvalue().splitlines()
    assert line[9:].startswith("standing  1 of 2 done") and line.endswith("; running: b seed 1 3/8")


@pytest.mark.parametrize("width", [80, 120])
def test_the_screens_names_and_numbers_have_room(width: int) -> None:
    views = [view("anchor+norm+F4", "running", done=3, loss=0.5, score=12.3, seconds=9.0)]
    console = Console(file=io.StringIO(), width=width, height=24, force_terminal=True)
    console.print(display.running_table(views, "val BLEU", width))
    standing = SearchStanding(3, 720.0, 1800.0, views, [("anchor · norm · F4", 41.5, 6), ("rounding", 44.0, 6)])
    console.print(SearchScreen("val/bleu", console).draw(standing))
    shown = re.sub(r"\x1b\[[0-9;]*m", "", console.file.getvalue())  # type: ignore[attr-defined]
    assert max(map(len, shown.splitlines())) <= width
    assert shown.count("3/8") == 2 and "ANCHOR+NORM+F4" in shown and "round 3, 12 min of 30 min" in shown
    assert shown.index("rounding") < shown.index("anchor · norm · F4"), "the best arm first"


def test_names_of_others_neither_steer_the_terminal_nor_end_the_display() -> None:
    name = "\x1b]0;title\x07 [/] [red]"
    made = view("a", "running", done=3)
    made = replace(made, job=replace(made.job, label=name))
    console = Console(file=io.StringIO(), width=120, height=24, color_system=None)
    failed = replace(view("b", "failed", reason="\x1b[2J gone"))
    console.print(display.Screen(["s"], 1, "bleu", console).draw([made, failed]))
    console.print(display.best_table([(name, 1.0, 1)], "BLEU", "seeds"))
    stream = io.StringIO()
    lines.PlainLines(stream).say(name)
    console.print(lines.Standing(name).line(80))
    shown = console.file.getvalue() + stream.getvalue()  # type: ignore[attr-defined]
    assert "\x1b" not in shown and "\x07" not in shown and shown.count("⟨U+001B⟩]0;title⟨U+0007⟩ [/] [red]") == 4


# One piece of work


def standing_at(done: int, total: int, *facts: str, stage: str = "training") -> lines.Standing:
    """A stage as it may stand."""
    made = lines.Standing(stage)
    made.reached(done, total, facts, 185.0)
    return made


FACTS = ("loss 2.314", "12,345 tokens/s", "BLEU 12.30")


@pytest.mark.parametrize(("width", "shown"), [(80, FACTS), (120, FACTS), (60, FACTS[:2]), (30, ()), (12, ())])
def test_a_line_keeps_what_matters_most(width: int, shown: Sequence[str]) -> None:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(standing_at(300, 600, *FACTS).line(width))
    (text,) = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(text) <= width and text.startswith("training" if width > 20 else "tr")
    assert [fact for fact in FACTS if fact in text] == list(shown)
    assert ("300/600" in text and "3 min left" in text) == (width >= 30)
    assert ("━" in text) == (width >= 80)


@given(st.integers(1, 200), st.integers(0, 10**9), st.integers(0, 10**9), st.lists(st.text(max_size=30), max_size=4))
def test_a_line_is_never_wider_than_the_terminal(width: int, done: int, total: int, facts: list[str]) -> None:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(standing_at(done, total, *(" ".join(fact.split()) for fact in facts)).line(width))
    assert len(console.file.getvalue().splitlines()) == 1  # type: ignore[attr-defined]


def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """A monotonic clock that stands still, and what moves it."""
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])

    def move(seconds: float) -> None:
        now[0] += seconds

    return move


def test_without_a_terminal_a_line_every_half_minute_and_what_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    move, stream = clock(monkeypatch), io.StringIO()
    with lines.PlainLines(stream) as shown, watching.watched_by(shown):
        watching.stage("decoding")
        for _ in watching.each(range(100), 100):
            move(1.0)
        shown.say("done")
    said = [line[9:] for line in stream.getvalue().splitlines()]
    assert said == [f"decoding {n}/100, {100 - n} s left" for n in (30, 60, 90)] + ["done"]
    assert re.match(r"\d\d:\d\d:\d\d decoding", stream.getvalue())


def test_work_ends_well_when_nobody_reads_any_more() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.EPIPE, "Broken pipe")

    with lines.PlainLines(Gone(), period=0.0) as shown, watching.watched_by(shown):
        assert list(watching.each("abc", 3)) == ["a", "b", "c"]
        shown.say("done")


def test_what_ends_work_leaves_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    clock(monkeypatch)
    stream = io.StringIO()
    with pytest.raises(KeyboardInterrupt), lines.PlainLines(stream) as shown, watching.watched_by(shown):
        watching.stage("writing the targets")
        shown.reached(5, 10)
        raise KeyboardInterrupt
    assert stream.getvalue()[9:] == "writing the targets 5/10\n"


def test_nobody_is_told_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    watching.stage("decoding")
    assert list(watching.each([1, 2], 2)) == [1, 2]
    watching.watcher().say("x")
    assert capsys.readouterr() == ("", "")


def test_a_training_is_shown_from_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    move, stream = clock(monkeypatch), io.StringIO()
    kept: list[dict[str, Any]] = []
    with lines.PlainLines(stream, period=0.0) as shown, watching.watched_by(shown):
        log = ShownTraining(TrainingConfig(updates=600), 100).after(kept.append)
        rows = [{"train/step": 100 + n, "train/loss": 3 - n / 100, "train/tokens": 1000 * n, "train/seconds": n / 2}
                for n in (0, 100, 200)]  # fmt: skip
        for row in rows:
            log(row)
            move(50.0)
        log({"train/step": 300, "val/loss": 4.0, "val/nll": 2.0, "val/chrf": 31.234})
    said = [line[9:] for line in stream.getvalue().splitlines()]
    assert said[0] == "going on after update 100 of 600"
    assert said[2] == "training 100/600, loss 3.000"
    assert said[3] == "training 200/600, loss 2.000, 2,000 tokens/s, 3 min left"
    assert said[5] == "validation after update 300 of 600: chrF 31.23, loss 4.00, NLL 2.00"
    assert said[-1] == "training 300/600, chrF 31.23, 4 min left"
    assert kept[:3] == rows and len(kept) == 4


def test_one_run_shows_its_stages_and_validations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert launch.launch(get("smoke").config_for("difformer"), Place(runs=tmp_path), "smoke") == 0
    said = [line.partition(" ")[2] for line in capsys.readouterr().out.splitlines()]
    assert said[0].endswith(": 12 updates")
    assert [line.partition(":")[0] for line in said[1:-1]] == [f"validation after update {n} of 12" for n in (6, 12)]


class Recorder(watching.Nobody):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.stages: dict[str, tuple[int, int]] = {}
        self.now = ""

    def stage(self, name: str) -> None:
        self.now = name
        self.stages[name] = (0, 0)

    def reached(self, done: int, total: int, *facts: str, left: float | None = None) -> None:
        self.stages[self.now] = (done, total)


@pytest.mark.slow
def test_a_distillation_shows_each_of_its_stages_to_the_end(tmp_path: Path) -> None:
    from ablations.distill import __main__ as distill

    options = ["--preset", "smoke", "--updates", "4", "--beam", "2", "--corpus_pairs", "200", "--corpus_heldout", "20"]
    recorder = Recorder()
    with watching.watched_by(recorder):
        distill.distill(distill.parse([*options, "--out", str(tmp_path / "new")]))
    assert list(recorder.stages) == [
        "preparing the text", "training", "validating", "decoding the valid set", "decoding the test set",
        "writing the targets",
    ]  # fmt: skip
    assert recorder.stages["decoding the test set"] == (20, 20)
    assert recorder.stages["writing the targets"] == (200, 200)


def test_reading_and_drawing_a_study_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "MODULES", (score_steps,))
    recorder = Recorder()
    with watching.watched_by(recorder):
        study = load(write_study(tmp_path, "token_loss", seeds=(1,)))
        drawing.redraw(study, tmp_path / "figures", ["svg"])
    for stage in ("reading the runs", "reading scores.json", "reading probes.npz"):
        assert recorder.stages[stage] == (4, 4)
    assert recorder.now == "drawing score_steps"


class Terminal(io.StringIO):
    """Says that it is one."""

    def isatty(self) -> bool:
        return True


def test_a_search_is_shown_on_a_terminal_alone() -> None:
    standing = SearchStanding(3, 720.0, 1800.0, [view("a", "running", done=3)], [("A", 41.5, 6)])
    for stream, is_shown in ((Terminal(), True), (io.StringIO(), False)):
        with SearchScreen("val/bleu", Console(file=stream, width=80, height=24, force_terminal=True)) as screen:
            screen.show(standing)
        assert ("round 3" in stream.getvalue()) is is_shown


def on_a_terminal(columns: int, *arguments: str, **environment: str) -> tuple[int, str]:
    """A command on a terminal of so many columns: its status, and all that it wrote there."""
    lead, follow = pty.openpty()
    ioctl(follow, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = os.environ | {"TERM": "xterm", "PYTHONPATH": str(ROOT), "WANDB_MODE": "disabled"} | environment
    process = subprocess.Popen([sys.executable, "-m", *arguments], env=env, stdout=follow, stderr=follow, stdin=follow)
    os.close(follow)
    written = b""
    try:
        while part := os.read(lead, 65536):
            written += part
    except OSError:  # the other end is closed
        pass
    os.close(lead)
    return process.wait(), written.decode()


@pytest.mark.slow
@pytest.mark.parametrize("columns", [80, 120])
def test_on_a_terminal_one_line_renews_itself(columns: int, tmp_path: Path) -> None:
    run = ["ablations.run", "--preset", "smoke", "--updates", "900", "--log_every", "1", "--valid_every", "450"]
    status, written = on_a_terminal(columns, *run, "--runs", str(tmp_path))
    assert status == 0, written
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", written)
    assert re.search(r"training .*\d+/900  loss \d", plain) and "tokens/s" in plain
    assert "validation after update 450 of 900" in plain and "BLEU" in plain.splitlines()[-1]
    assert "\x1b[2K" in written, "the line is erased and written anew"
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h") > 0, "the cursor is there again"
    renewed = [line for line in re.split(r"[\r\n]+", plain) if line.startswith("training")]
    assert renewed and max(map(len, renewed)) <= columns


@pytest.mark.parametrize(
    ("module", "work"),
    [
        ("ablations.distill.__main__", "ablations.distill.__main__.distill"),
        ("analysis.figures.__main__", "analysis.load.load"),
        ("analysis.report.__main__", "analysis.report.__main__.load_reported"),
    ],
)
def test_commands_watch_their_work(
    module: str, work: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def say(*arguments: Any) -> None:
        watching.watcher().say("at work")
        raise UserError("seen")

    monkeypatch.setattr(work, say)
    monkeypatch.setattr(sys, "argv", ["x", "--out", str(tmp_path)] + ["x"] * ("analysis" in module))
    with pytest.raises(SystemExit):
        importlib.import_module(module).main()
    out, err = capfd.readouterr()
    assert "at work" in (out if "distill" in module else err)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["--wandb", "WANDB_MODE"])
def test_one_run_is_mirrored_where_that_is_asked_for(how: str, tmp_path: Path) -> None:
    line = [sys.executable, "-m", "ablations.run", "--preset", "smoke", "--updates", "4", "--runs", str(tmp_path)]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    del env["WANDB_MODE"]
    if how == "--wandb":
        line.append(how)
    else:
        env[how] = "offline"
    done = subprocess.run(line, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "wandb sync" in done.stdout and "validation after update 4 of 4" in done.stdout
    assert len(list(tmp_path.glob("single/wandb/offline-run-*/*.wandb"))) == 1


def test_a_run_asks_no_more_of_wandb_than_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where WANDB_MODE is not set, or disabled, one run stays as it was: a run folder and nothing else."""
    from ablations import run

    begun: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda program, line: begun.append(line[1:]))
    monkeypatch.setattr(launch, "launch", lambda config, place, preset: 0)
    for mode, more in (("", 0), ("disabled", 0), ("offline", 1), ("online", 1)):
        monkeypatch.setenv("WANDB_MODE", mode)
        monkeypatch.setattr(sys, "argv", ["run", "--runs", str(tmp_path)])
        assert run.main() == 0 and len(begun) == more, mode
        begun.clear()
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setattr(sys, "argv", ["run", "--wandb", "--seed", "3"])
    run.main()
    assert begun == [["-m", "sweeps.one", "--wandb", "--seed", "3"]]
