"""What others wrote: rows with odd line ends, names that are paths, escapes, formulas; runs that are made anew."""

import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from fake_runs import edit, write_study
from fake_sweep import ROOT, executions, run, sweep_of, tidy
from large_studies import write_rows

from ablations import provenance, records
from analysis.figures.__main__ import main as draw
from analysis.load import EXTREME, STEP, load
from analysis.plain_text import csv_text
from analysis.sentences import compare
from analysis.training_rows import EVEN, WHOLE, read_rows
from core import reading
from core.errors import UserError, masked, masked_line
from core.reading.typed import is_name, printable
from sweeps import mirror
from sweeps.running import attempt, conduct
from sweeps.running.options import SweepOptions, typed
from sweeps.running.plan import checked_name
from sweeps.running.prepare import prepare
from sweeps.wb import connection, restore


def change_rows(path: Path, key: str, value: str) -> None:
    """Change a text of the first row of a .jsonl file, written as it is."""
    first, *rest = path.read_text("utf-8").split("\n")
    text = json.dumps(json.loads(first) | {key: value}, ensure_ascii=False)
    path.write_text("\n".join([text, *rest]), "utf-8")


@pytest.mark.parametrize("mark", ["\x85", "\u2028", "\u2029", "\x0b", "\x1c"])
def test_rows_end_with_a_line_feed_alone(mark: str, tmp_path: Path) -> None:
    path = write_study(tmp_path, "token_loss", seeds=(1, 2))
    for file in path.glob("*/samples.jsonl"):
        change_rows(file, "source", f"one{mark}two")
    study = load(path)
    assert "incomplete" not in " ".join(compare(study)[1]) and not study.notes


@pytest.mark.parametrize("name", ["../..", "/tmp/x", "a/b", "..", "", "a\\b", "a\x1b[2J", "a\nb", "x" * 300])
def test_a_name_from_a_file_is_no_path(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_name(name)
    with pytest.raises(UserError):
        checked_name(name)
    path = write_study(tmp_path / "in", "token_loss", seeds=(1,))
    for key, value in (("study", name), ("runs", [name]), ("arms", [{"name": name}])):
        whole = (path / "study.json").read_text()
        edit(path / "study.json", **{key: value})
        monkeypatch.setattr("sys.argv", ["figures", str(path), "--out", str(tmp_path / "in" / "out")])
        with pytest.raises(SystemExit):
            draw()
        (path / "study.json").write_text(whole)
    assert [each.name for each in tmp_path.iterdir()] == ["in"] and not (tmp_path / "in" / "out").exists()
    record = json.loads(next(path.glob("*/run.json")).read_text())
    for key in ("study", "arm", "hash"):
        held = restore.Held("x.wandb", {"record": record | {key: name}}, {}, [])
        assert restore.restore_run(held) is None


def test_escapes_do_not_reach_the_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert printable("a\x1b[31m\u202eb\x9b") == "a⟨U+001B⟩[31m⟨U+202E⟩b⟨U+009B⟩"
    path = write_study(tmp_path, "token_loss", seeds=(1,))
    said = "\x1b]0;title\x07\x1b[2J"
    edit(path / "study.json", banner=said, command=said)
    for file in path.glob("anchor-*/run.json"):
        edit(file, state="failed", reason=said, label=said)
    for line in (["figures", str(path), "--out", str(tmp_path / "out"), "--formats", "svg"], ["figures", said]):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit):
            patch.setattr("sys.argv", line)
            raise SystemExit(draw())
    out, err = capfd.readouterr()
    assert "⟨U+001B⟩" in out + err and not {"\x1b", "\x07", "\x9b"} & set(out + err)


def test_no_cell_of_a_csv_file_begins_a_formula() -> None:
    frame = pd.DataFrame({"=label": ["=1+1", "+a", "-b", "@c", "plain"], "x": [-1.5, 2.0, float("nan"), 0.1, 1e-9]})
    text = csv_text(frame)
    assert text.split("\n")[0] == "'=label,x" and text.split("\n")[1] == "'=1+1,-1.5"
    assert all(line[0] not in "=+-@" for line in text.split("\n") if line)


# Runs that cannot be read


def test_a_sweep_makes_damaged_runs_anew_and_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with tidy():
        sweep = sweep_of(tmp_path)
        run(sweep)
        first, second, third, _ = (job.folder(sweep.runs) for job in sweep.jobs)
        (first / "run.json").write_text('{"format": 1, "arm": 3}')
        (second / "scores.json").write_text("[1]")
        edit(third / "run.json", format=99)
        with pytest.raises(UserError, match="newer version"):
            run(sweep)
        edit(third / "run.json", format=1)
        views, _ = run(sweep)
    said = capfd.readouterr().err
    assert f"{first}/run.json is unreadable: `arm` is 3, not a name; it is kept as run.json.damaged" in said
    assert f"{second}: scores.json is unreadable: it is a list, not a mapping" in said
    assert [v.state for v in views] == ["finished"] * 4 and executions(sweep) == [2, 2, 1, 1]
    assert (first / "run.json.damaged").read_text() == '{"format": 1, "arm": 3}'


def test_the_mirror_goes_on_with_the_other_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_study(tmp_path, "token_loss", seeds=(1,))
    broken, *others = sorted(file.parent for file in path.glob("*/run.json"))
    edit(broken / "run.json", lease="\x1b")
    assert [mirror.ended(folder) for folder in (broken, *others)] == [False] + [True] * len(others)
    assert f"left out: {broken}/run.json: cannot be read (`lease` is " in capsys.readouterr().err


def test_a_finished_record_is_read_once_and_again_when_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder,) = (file.parent for file in write_study(tmp_path, "token_loss", seeds=(1,)).glob("anchor-s1*/run.json"))
    read = list[Path]()
    whole = reading.read_json

    def counted(path: Path) -> Any:
        read.append(path)
        return whole(path)

    monkeypatch.setattr(reading, "read_json", counted)
    assert records.read(folder) == records.read(folder) and len(read) == 1
    records.update(folder, reason="new")
    assert records.read(folder)["reason"] == "new"


# Long logs


def test_long_curves_are_thinned_alike_with_their_extremes(tmp_path: Path) -> None:
    path = write_study(tmp_path, "token_loss", seeds=(1, 2))
    rows = WHOLE + 1000
    for i, file in enumerate(sorted(path.glob("*/metrics.jsonl"))):
        write_rows(file, {}, rows)
        lines = file.read_text().split("\n")
        place = 700 + i
        lines[place] = json.dumps(json.loads(lines[place]) | {"train/loss": -5.0 - i})
        file.write_text("\n".join(lines))
    study = load(path)
    by_run = study.metrics.groupby("run")
    steps = {tuple(frame[STEP]) for _, frame in by_run}
    assert len(steps) == 1 and EVEN <= len(next(iter(steps))) <= EVEN + 600
    assert sorted(by_run["train/loss"].min()) == [-5.0 - i for i in reversed(range(8))]
    assert (by_run["train/loss"].max() == 1e4).all(), "a spike of one row"
    even = study.metrics[~study.metrics[EXTREME].astype(bool)]
    assert even.groupby("run")["train/grad_norm"].count().max() <= 2 * EVEN
    assert (by_run["val/bleu"].count() >= WHOLE // 10).all(), "validation is rarer, and kept as it is"


def test_a_large_file_is_read_as_row_by_row(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write_rows(path, {}, 4000)
    lines = path.read_bytes().split(b"\n")
    lines[10:10] = [
        b"{",
        b'{"train/step": 7.5e1, "train/loss": "text", "new": 1}',
        b"[1]",
        b'{"train/step": null}',
        b"",
    ]
    lines[100] = lines[100].replace(b"train/mse", b"train/msf")
    lines[200] = lines[200][:-1]
    path.write_bytes(b"\n".join(lines)[:-30])
    assert path.stat().st_size > reading.CHUNK
    frame, said = read_rows(path)
    slow: dict[int, dict[str, Any]] = {}
    broken = 0
    for _, _, row in reading.rows(path):
        broken += not isinstance(row, dict)
        if isinstance(row, dict) and isinstance(row.get(STEP), int | float):
            kept = {k: v for k, v in row.items() if isinstance(v, int | float)}
            slow[int(row[STEP])] = slow.get(int(row[STEP]), {}) | kept
    assert frame is not None and said == f"has {broken} broken lines" and broken == 4
    assert {int(row.pop(STEP)): {k: v for k, v in row.items() if v == v} for row in frame.to_dict("records")} == {
        step: {k: v for k, v in row.items() if k != STEP} for step, row in slow.items()
    }


# Secrets, and what speaks of one run


SECRET = "postgresql://me:s3cret@host/db"


@pytest.mark.parametrize(
    "text",
    [
        SECRET,
        "postgresql:/me:s3cret@host/db",
        "redis://:s3cret@host",
        "mysql://me:s3/c:ret@s3cret@host",
        "postgresql://host/db?user=me&password=s3cret",
        "sslpassword=s3cret WANDB_API_KEY=s3cret",
    ],
)
def test_passwords_are_masked(text: str) -> None:
    assert "cret" not in masked(f"--storage {text}: no") and "host" in masked(text) + "host"
    assert "cret" not in masked_line(["a b", text.replace("s3", "s 3")]) or " " in text


def test_no_password_reaches_records_logs_and_command_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["python", "-m", "sweeps.study", "--storage", SECRET]
    monkeypatch.setattr("sys.orig_argv", line)
    monkeypatch.setattr("sys.argv", line[2:])
    monkeypatch.setenv("WANDB_MODE", "disabled")
    said = [provenance.provenance(torch.device("cpu"))["command"], typed("sweeps.study")]
    sweep = sweep_of(tmp_path, ("a",), 1)

    def refusing(*arguments: Any) -> None:
        raise RuntimeError(f"{SECRET} does not answer")

    folder = sweep.jobs[0].create(tmp_path)
    assert records.claim(folder)
    with pytest.raises(RuntimeError):
        attempt.attempt(sweep.jobs[0], folder, refusing)
    records.release(folder)
    said += [capsys.readouterr().err, records.read(folder)["reason"]]
    assert all("me:***@host" in each and "s3cret" not in each for each in said), said


def test_workers_get_the_storage_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Command lines of others are for everybody on a machine to read."""
    begun = dict[str, Any]()

    def begin(line: list[str], *rest: Any) -> None:
        begun.update(line=line, extra=rest[-1])
        raise UserError("begun")

    monkeypatch.setattr(conduct, "Pool", begin)
    sweep = sweep_of(tmp_path)
    with pytest.raises(UserError, match="begun"):
        run(sweep)
    assert not [word for word in begun["line"] if sweep.storage in word]
    assert begun["extra"]["SWEEP_STORAGE"] == sweep.storage


def test_only_the_program_of_an_agent_keeps_what_it_says_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in connection.AGENT:
        monkeypatch.setenv(name, "job123")
    connection.check_mode()
    assert os.environ["WANDB_RUN_ID"] == "job123", "sweeps.arm"
    prepare(SweepOptions(study="norm", preset="smoke"), "sweeps.study")
    assert not set(connection.AGENT) & set(os.environ), "a sweep, whose runs would all be job123"


@pytest.mark.parametrize("name", ["modules-search", "norm-smoke-metric=chrf-search", None])
def test_the_study_of_a_search_at_its_own_best_is_read(name: str | None, tmp_path: Path) -> None:
    study = write_study(tmp_path, "modules", seeds=(1,))
    edit(study / "study.json", search=name)
    assert load(study).info["search"] == name
    edit(study / "study.json", search="../elsewhere")
    with pytest.raises(UserError, match=r"`search` is '\.\./elsewhere', not a name or null"):
        load(study)
