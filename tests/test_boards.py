"""Dashboards on this machine: optuna-dashboard over our storage, the browser, the preview of the workspace."""

import base64
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest
from fake_runs import write_study

from analysis.preview import data
from core.errors import UserError
from sweeps import dashboard
from sweeps.dashboards import boards
from sweeps.running.storage import open_storage


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


def test_the_command_serves_our_journal_until_ctrl_c(
    command: subprocess.Popen[str], begun: Path, tmp_path: Path
) -> None:
    assert command.stdout is not None and command.stderr is not None
    said = ""
    for line in command.stdout:
        said += line
        if line.startswith("optuna-dashboard"):
            break
    address = said.splitlines()[-1].split(": ")[1]
    assert address.startswith("http://127.0.0.1:") and "(opened)" not in said
    assert "no results yet: the panels fill as runs finish" in said
    summaries = json.loads(fetched(f"{address}api/studies"))["study_summaries"]
    assert [each["study_name"] for each in summaries] == ["modules-1234"]
    assert b"<html" in fetched(f"{address}dashboard").lower()
    assert not list(begun.glob("*.lock")), "Optuna's own lock files, which a sweep does not heed"
    command.send_signal(signal.SIGINT)
    assert command.wait(timeout=60) == 0
    assert command.stderr.read().endswith("optuna-dashboard ended\n")
    assert {"workspace.json", "report.json", "workspace.html"} <= {p.name for p in (tmp_path / "out/modules").iterdir()}


@contextmanager
def serving(journal: Path) -> Iterator[str]:
    """Address of an optuna-dashboard over a journal."""
    server = boards.board(str(journal), 0)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/api/studies/0"
    finally:
        server.shutdown()
        server.server_close()


def test_a_folder_without_a_study_has_optuna_dashboard_alone(
    begun: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (begun / "study.json").unlink()
    served: list[boards.Server] = []
    monkeypatch.setattr(boards, "serve", served.append)
    monkeypatch.setattr(sys, "argv", ["dashboard", str(begun), "--out", str(tmp_path / "out"), "--no-browser"])
    assert dashboard.main() == 0
    (server,) = served
    server.server_close()
    said = capsys.readouterr()
    assert said.out.startswith("optuna-dashboard") and said.err.startswith("no workspace: no runs in")
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
        monkeypatch.setattr(boards, "PORT", port)
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


# The preview


class Page(HTMLParser):
    """Figures of a page: captions, which of them have nothing to show, pictures and tables, and every address."""

    def __init__(self) -> None:
        super().__init__()
        self.captions: list[str] = []
        self.empty: list[str] = []
        self.drawn = 0
        self.addresses: list[str] = []
        self.within = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Count pictures and tables, collect addresses."""
        self.within = tag
        self.drawn += tag in ("img", "table")
        self.addresses += [str(value) for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        """Captions, and what stands in place of a picture."""
        if data.startswith("nothing to show yet"):
            self.empty.append(self.captions[-1])
        if self.within == "figcaption" and data.strip():
            self.captions.append(data)
            self.within = ""


@pytest.fixture(scope="module")
def spec(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """workspace.json of the study."""
    from sweeps.dashboards import facts, views

    return views.write(facts.read(study), tmp_path_factory.mktemp("dashboard"), "p", "now")[0]


def sections(content: dict[str, Any]) -> list[dict[str, Any]]:
    """The sections of a workspace.json."""
    found = content["spec"]["section"]["panelBankConfig"]["sections"]
    assert isinstance(found, list)
    return found


def preview(study: Path, spec: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """python -m analysis.preview."""
    line = [sys.executable, "-m", "analysis.preview", str(study), "--workspace", str(spec), "--out", str(out)]
    return subprocess.run(line, capture_output=True, text=True, timeout=240)


def test_the_preview_draws_every_panel_and_says_what_it_is(study: Path, spec: Path, tmp_path: Path) -> None:
    assert preview(study, spec, tmp_path / "a.html").returncode == 0
    page = Page()
    text = (tmp_path / "a.html").read_text("utf-8")
    page.feed(text)
    panels = [panel for section in sections(json.loads(spec.read_text())) for panel in section["panels"]]
    assert len(page.captions) == len(panels) > 30
    missing = {"Root mean square of z_0", "Training tokens per second"}  # not in the made-up runs
    assert set(page.empty) == missing and page.drawn == len(panels) - len(missing)
    assert "Not W&amp;B's own page" in text
    assert all(address.startswith("data:image/svg+xml;base64,") for address in page.addresses)
    pictures = [base64.b64decode(address.partition(",")[2]) for address in page.addresses]
    assert not [picture for picture in pictures if b"mathdefault" in picture], "mathematics is off: numbers are plain"


def test_the_share_of_variance_between_groups() -> None:
    values = pd.Series([1.0, 3.0, 5.0, 7.0])  # total 20; two groups of two: 16 between, 4 within
    assert data.between(values, pd.Series(["a", "a", "b", "b"])) == pytest.approx(0.8)
    assert data.between(values, pd.Series(["a", "b", "b", "a"])) == pytest.approx(0.0)
    assert data.between(pd.Series([2.0, 2.0]), pd.Series(["a", "b"])) == 0.0


def test_text_from_data_is_escaped(study: Path, spec: Path, tmp_path: Path) -> None:
    copied = json.loads(spec.read_text())
    copied["displayName"] = "<script>alert(1)</script>"
    del sections(copied)[1:]
    (tmp_path / "w.json").write_text(json.dumps(copied))
    assert preview(tmp_path / "no results", tmp_path / "w.json", tmp_path / "a.html").returncode == 0
    text = (tmp_path / "a.html").read_text("utf-8")
    assert "<script" not in text and "&lt;script&gt;" in text and "no study folder" in text


def test_a_file_that_is_no_workspace_is_named(study: Path, tmp_path: Path) -> None:
    (tmp_path / "w.json").write_text("[1]")
    done = preview(study, tmp_path / "w.json", tmp_path / "a.html")
    assert done.returncode == 2 and "w.json is no workspace" in done.stderr and "Traceback" not in done.stderr
