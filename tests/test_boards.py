"""Dashboards on this machine: optuna-dashboard over our storage, our own report kept up to date, the browser."""

import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import optuna
import pytest
from fake_runs import edit, write_study
from optuna.trial import TrialState

from core.errors import UserError
from sweeps import dashboard
from sweeps.dashboards import boards
from sweeps.dashboards.live_report import LiveReport, ended
from sweeps.running.options import SweepOptions
from sweeps.running.prepare import prepare
from sweeps.running.storage import open_storage
from sweeps.running.trials import Queue


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of eight arms with one seed, and its Optuna journal with two trials."""
    folder = write_study(tmp_path_factory.mktemp("runs"), "modules", seeds=(1,))
    made = optuna.create_study(storage=open_storage(str(folder / "optuna.journal")), study_name="modules-1234")
    made.optimize(lambda trial: trial.suggest_float("lr", 0, 1), n_trials=2)
    return folder


def fetched(address: str) -> bytes:
    """The answer to a GET, past any proxy."""
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address, timeout=60) as reply:
        return bytes(reply.read())


@pytest.fixture
def begun(study: Path, tmp_path: Path) -> Path:
    """The same study, without any run folder."""
    (tmp_path / "modules").mkdir()
    for name in ("study.json", "optuna.journal"):
        (tmp_path / "modules" / name).write_bytes((study / name).read_bytes())
    return tmp_path / "modules"


@pytest.fixture
def command(begun: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """python -m sweeps.dashboard, serving, without a screen."""
    line = [sys.executable, "-m", "sweeps.dashboard", str(begun), "--out", str(tmp_path / "out")]
    hidden = {"DISPLAY": "", "WAYLAND_DISPLAY": "", "SSH_CONNECTION": "somewhere", "WANDB_MODE": "offline"}
    process = subprocess.Popen(
        line,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | hidden,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored in what a shell runs behind it
    )
    yield process
    process.kill()
    process.communicate()


@pytest.mark.slow
def test_the_command_serves_our_journal_until_ctrl_c(
    command: subprocess.Popen[str], begun: Path, tmp_path: Path
) -> None:
    assert command.stdout is not None and command.stderr is not None
    said = ""
    for line in command.stdout:
        said += line
        if line.startswith("optuna-dashboard"):
            break
    report, address = (line.split(": ")[1] for line in said.splitlines()[-2:])
    assert b"<iframe" in fetched(report) and b"No run has ended yet" in fetched(f"{report}report")
    assert address.startswith("http://127.0.0.1:") and "(opened)" not in said
    assert "no results yet: the panels fill as runs finish" in said
    summaries = json.loads(fetched(f"{address}api/studies"))["study_summaries"]
    assert [each["study_name"] for each in summaries] == ["modules-1234"]
    assert b"<html" in fetched(f"{address}dashboard").lower()
    assert not list(begun.glob("*.lock")), "Optuna's own lock files, which a sweep does not heed"
    command.send_signal(signal.SIGINT)
    assert command.wait(timeout=60) == 0
    assert command.stderr.read().endswith("dashboards ended\n")
    assert {"workspace.json", "report.json"} == {p.name for p in (tmp_path / "out/modules").iterdir()}


@contextmanager
def serving(journal: Path) -> Iterator[str]:
    """Address of the first study in an optuna-dashboard over a journal."""
    with answering(boards.board(str(journal), 0)) as address:
        yield f"{address}api/studies/0"


@contextmanager
def answering(server: boards.Server) -> Iterator[str]:
    """Address of a server that serves."""
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield boards.address(server)
    finally:
        server.shutdown()
        server.server_close()


def test_a_folder_without_a_study_has_no_workspace(
    begun: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (begun / "study.json").unlink()
    served: list[boards.Server] = []
    monkeypatch.setattr(boards, "serve", served.extend)
    monkeypatch.setattr(sys, "argv", ["dashboard", str(begun), "--out", str(tmp_path / "out"), "--no-browser"])
    assert dashboard.main() == 0
    assert len(served) == 2
    for server in served:
        server.server_close()
    said = capsys.readouterr()
    assert "\noptuna-dashboard" in said.out and said.err.startswith("no workspace: no runs in")
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--no-serve"])
    with pytest.raises(UserError, match="no runs in"):
        dashboard.main()


def test_trials_of_a_running_sweep_are_seen(study: Path, tmp_path: Path) -> None:
    journal = tmp_path / "optuna.journal"
    journal.write_bytes((study / "optuna.journal").read_bytes())
    with serving(journal) as address:
        assert len(json.loads(fetched(f"{address}?after=0"))["trials"]) == 2
        sweep = optuna.load_study(study_name="modules-1234", storage=open_storage(str(journal)))
        sweep.optimize(lambda trial: 1.0, n_trials=1)
        for _ in range(240):  # it looks into the storage every two seconds
            if len(json.loads(fetched(f"{address}?after=0"))["trials"]) == 3:
                return
            time.sleep(0.25)
    pytest.fail("the third trial was never seen")


def test_importance_is_not_that_of_the_best_trials_alone(tmp_path: Path) -> None:
    made = optuna.create_study(storage=open_storage(str(tmp_path / "j")), study_name="s", direction="maximize")
    arms = {"a": 80.0, "b": 40.0, "c": 35.0, "d": 10.0}
    for seed, (arm, score) in itertools.product((1, 2, 3), arms.items()):
        made.enqueue_trial({"arm": arm, "seed": seed})
        made.optimize(partial(scored, arms=list(arms), score=score), n_trials=1)
    with serving(tmp_path / "j") as address:
        (found,) = json.loads(fetched(f"{address}/param_importances"))["param_importances"]
    shares = {each["name"]: each["importance"] for each in found}
    assert shares["arm"] > 0.9 > 0.1 > shares["seed"]


def scored(trial: optuna.Trial, arms: list[str], score: float) -> float:
    """The score of an arm, to which the seed adds a little."""
    trial.suggest_categorical("arm", arms)
    return score + int(trial.suggest_categorical("seed", [1, 2, 3]))


def test_a_port_in_use_is_named_and_the_usual_one_given_up(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind((boards.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"--port {port}: .*in use; leave it out, and a free one is taken"):
            boards.board(str(study / "optuna.journal"), port)
        monkeypatch.setattr(boards, "BOARD_PORT", port)
        server = boards.board(str(study / "optuna.journal"), None)
        assert server.server_address[1] != port
        server.server_close()


def test_a_storage_that_is_not_one_is_named(study: Path, tmp_path: Path) -> None:
    assert boards.storage_of(study, None) == str(study / "optuna.journal")
    assert boards.storage_of(tmp_path, None) is None
    assert boards.storage_of(tmp_path, "postgresql://db/x") == "postgresql://db/x"
    with pytest.raises(UserError, match=r"--storage .*none\.journal: no such file"):
        boards.storage_of(study, str(tmp_path / "none.journal"))
    (tmp_path / "empty.journal").touch()
    with pytest.raises(UserError, match="no Optuna study in it"):
        boards.board(str(tmp_path / "empty.journal"), 0)
    with pytest.raises(UserError, match="--port 99999"):
        boards.board(str(study / "optuna.journal"), 99999)


@pytest.mark.parametrize(
    ("screen", "browser", "opened"),
    [({"DISPLAY": ":0"}, True, True), ({"DISPLAY": ":0"}, False, False), ({}, True, False)]
    + [({"DISPLAY": ":0", "SSH_CONNECTION": "x"}, True, False)],
)
def test_a_page_is_opened_only_on_a_screen(
    screen: dict[str, str], browser: bool, opened: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in screen.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", "linux")
    asked: list[str] = []

    def ask(address: str) -> bool:
        asked.append(address)
        return True

    monkeypatch.setattr(webbrowser, "open", ask)
    boards.show("http://127.0.0.1:1/", "page", browser)
    assert asked == ["http://127.0.0.1:1/"] * opened
    assert capsys.readouterr().out == "page: http://127.0.0.1:1/" + " (opened)" * opened + "\n"


# Our own report, live


@pytest.mark.slow
def test_the_report_is_drawn_anew_when_a_run_has_ended_and_the_page_knows(study: Path, tmp_path: Path) -> None:
    growing = tmp_path / study.name
    growing.mkdir()
    shutil.copy(study / "study.json", growing)
    live = LiveReport(growing, tmp_path / "report")
    with answering(boards.listen(live.answer, 0, 0)) as address:
        live.look()
        assert b"No run has ended yet; this page follows" in fetched(f"{address}report")
        assert b'<iframe src="report"' in fetched(address) and fetched(f"{address}version") == b"0"
        runs = sorted(path.parent for path in study.glob("*/run.json"))
        for version, run in enumerate(runs[:2], start=1):
            shutil.copytree(run, growing / run.name)
            live.look()
            live.look()
            assert live.version == version and fetched(f"{address}version") == str(version).encode()
            page = fetched(f"{address}report")
            assert page == (tmp_path / "report" / "index.html").read_bytes() and f"let shown = {version}" not in str(
                page
            )
        with pytest.raises(urllib.error.HTTPError, match="404"):
            fetched(f"{address}../study.json")


@pytest.mark.slow
def test_a_report_that_cannot_be_drawn_is_said(study: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "taken").touch()
    live = LiveReport(study, tmp_path / "taken")
    live.look()
    assert live.version == 0 and "taken" in capfd.readouterr().err
    assert "cannot be drawn" in b"".join(live.answer({"PATH_INFO": "/report"}, lambda *_: None)).decode()


def test_a_run_that_goes_on_is_no_reason_to_draw(study: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(study, tmp_path / study.name)
    before = ended(copied)
    run = next(copied.glob("*/run.json"))
    edit(run, lease={"host": "h", "pid": 1, "expires": 1})
    assert ended(copied) == before
    edit(run, state="running")
    assert ended(copied) != before and len(ended(copied)) == len(before) - 1


def test_the_report_of_a_search_follows_the_runs_of_its_comparison(study: Path, tmp_path: Path) -> None:
    (search := tmp_path / "modules-search").mkdir()
    assert ended(search) == ()
    (search / "search.json").write_text(json.dumps({"default": "modules", "tuned": "modules-tuned", "arms": []}))
    begun = ended(search)
    shutil.copytree(study, tmp_path / "modules-tuned")
    assert len(begun) == 1 and len(ended(search)) == 1 + len(list(study.glob("*/run.json")))


# Trials


def test_toggles_are_parameters_of_trials_and_older_queues_go_on(tmp_path: Path) -> None:
    sweep, _ = prepare(SweepOptions(study="modules", preset="smoke", seeds=1, runs=tmp_path), "sweeps.study")
    journal = tmp_path / "optuna.journal"
    told = {name: value for name, value in sweep.known.items() if name != "factors"}
    old = Queue.create(open_storage(str(journal)), sweep.queue, sweep.arms, **told)
    assert old.add(sweep.jobs[0], TrialState.WAITING).params == {"arm": "anchor+norm+F4", "seed": 1}
    queue = Queue.create(open_storage(str(journal)), sweep.queue, sweep.arms, **sweep.known)
    for score, job in enumerate(sweep.jobs[1:]):
        queue.add(job, TrialState.COMPLETE, float(score))
    last = queue.trials()[-1].params
    assert last == {"arm": sweep.jobs[-1].arm, "seed": 1, "anchor_loss": "False", "embedding_norm": "False"} | {
        "noise_factor": 1.0
    }
    assert queue.take(queue.trials(TrialState.WAITING)[0]), "the trial from before is run like the others"
    with serving(journal) as address:
        (found,) = json.loads(fetched(f"{address}/param_importances"))["param_importances"]
    assert {each["name"] for each in found} >= {"anchor_loss", "embedding_norm", "noise_factor"}
