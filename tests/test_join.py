"""What lets hosts without shared files work together, part by part: signs of life, transfer, URLs, who may help."""

import io
import json
import os
import subprocess
import sys
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna
import pytest
from fake_sweep import DIGEST, ME, ROOT, jobs_for, sweep_of
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import FrozenTrial, TrialState, create_trial

from ablations import records
from core.config import RunConfig, flat, with_values
from core.errors import UserError, masked
from core.run_folder import read
from core.text import corpus
from sweeps.running import conduct, join, leases, plan, storage, transfer
from sweeps.running.reconcile import Attempts
from sweeps.running.trials import Queue


def running(number: int, count: int | None) -> FrozenTrial:
    """A running trial whose worker has given so many signs of life."""
    trial = create_trial(state=TrialState.RUNNING, user_attrs={} if count is None else {"beat": {"count": count}})
    trial.number = number
    return trial


def test_a_worker_is_dead_when_its_count_stands_still_for_a_lease() -> None:
    now = 1000.0
    watch = leases.Leases(90.0, lambda: now)
    for step in range(30):
        now += 10.0
        watch.look([running(1, step), running(2, min(step, 3)), running(3, None)])
        assert watch.alive(running(1, step)), "it gives signs of life"
        assert watch.alive(running(2, 3)) == (step <= 3 + 9)
        assert watch.alive(running(3, None)) == (step <= 9), "one that never gave any had its lease as well"


def test_time_in_which_nobody_looked_counts_against_nobody() -> None:
    now = 0.0
    watch = leases.Leases(90.0, lambda: now)
    watch.look([running(1, 5)])
    now = 10_000.0
    watch.look([running(1, 5)])
    assert watch.alive(running(1, 5)), "the storage was away, for the worker too"
    for _ in range(10):
        now += 10.0
        watch.look([running(1, 5)])
    assert not watch.alive(running(1, 5))


def test_homes_differ_by_folder_and_host_and_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = leases.site(tmp_path / "one")
    assert one == leases.site(tmp_path / "one") != leases.site(tmp_path / "two")
    monkeypatch.setattr(leases.socket, "gethostname", lambda: "elsewhere")
    assert leases.site(tmp_path / "one") != one, "a copy of the folder on another host is another home"


# Results in the storage


def finished(folder: Path) -> Path:
    """A finished run with all that is sent, and with weights."""
    job = jobs_for("a", 1)[0]
    folder = job.create(folder)
    for name in ("scores.json", "metrics.jsonl", "samples.jsonl"):
        (folder / name).write_text('{"bleu": 1.5}\n')
    (folder / "probes.npz").write_bytes(os.urandom(100_000))
    (folder / "model.safetensors").write_bytes(os.urandom(100_000))
    (folder / "log.txt").write_text("x" * 2 * transfer.LOG_BYTES)
    records.finish(folder)
    return folder


def test_results_come_out_as_they_went_in_through_the_storage(tmp_path: Path) -> None:
    source = finished(tmp_path / "one")
    opened = storage.open_storage(str(tmp_path / "trials.journal"))
    facts = transfer.send(opened, "q", "key", transfer.pack(source))
    assert facts["pieces"] > 3
    attributes = opened.get_trial(facts["trial"]).user_attrs
    assert max(len(json.dumps(value)) for value in attributes.values()) < 65_535, "what MySQL's TEXT takes"
    target = jobs_for("a", 1)[0].create(tmp_path / "two")
    transfer.unpack(transfer.fetch(opened, facts), target, host="there")
    for name in ("scores.json", "metrics.jsonl", "samples.jsonl", "probes.npz"):
        assert (target / name).read_bytes() == (source / name).read_bytes()
    assert records.read(target) == records.read(source) | {"host": "there"}
    assert not (target / "model.safetensors").exists() and not list(target.glob(".parcel*"))
    with pytest.raises(UserError, match="a part is missing"):
        transfer.fetch(opened, facts | {"pieces": facts["pieces"] + 1})
    with pytest.raises(UserError, match="checksum"):
        transfer.fetch(opened, facts | {"sha256": "0"})


def test_results_never_replace_a_finished_run(tmp_path: Path) -> None:
    packed = transfer.pack(finished(tmp_path / "one"))
    target = finished(tmp_path / "two")
    (target / "scores.json").write_text('{"bleu": 99.0}')
    transfer.unpack(packed, target)
    assert read(target / "scores.json") == {"bleu": 99.0}


@pytest.mark.parametrize("name", ["../outside", "model.safetensors"])
def test_other_things_than_results_are_refused(tmp_path: Path, name: str) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as content:
        for each in ("run.json", "scores.json", name):
            content.writestr(each, "{}")
    target = jobs_for("a", 1)[0].create(tmp_path / "two")
    with pytest.raises(UserError, match="not the results of a run"):
        transfer.unpack(buffer.getvalue(), target)
    assert records.read(target)["state"] == "pending" and not (tmp_path / "outside").exists()


def test_results_that_unfold_without_measure_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "LARGEST", 150_000)
    target = jobs_for("a", 1)[0].create(tmp_path / "two")
    with pytest.raises(UserError, match="more than a run has"):
        transfer.unpack(transfer.pack(finished(tmp_path / "one")), target)
    assert not (target / "scores.json").exists() and not list(target.glob(".parcel*"))


# Where the storage is


@pytest.mark.parametrize("named", ["typo.journal", "folder/typo.journal", "sqlite:///typo.db"])
def test_a_worker_makes_no_storage_of_a_misspelt_one(tmp_path: Path, named: str) -> None:
    line = [sys.executable, "-m", "sweeps.worker", "--storage", named]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(line, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 2 and f"error: --storage {named}: no such file" in done.stderr
    assert list(tmp_path.iterdir()) == []


# URLs


def test_urls_get_the_drivers_that_are_installed() -> None:
    assert storage.with_driver("postgresql://u@h/d") == "postgresql+psycopg://u@h/d"
    assert storage.with_driver("postgres://u@h/d") == "postgresql+psycopg://u@h/d"
    assert storage.with_driver("mysql://u@h/d") == "mysql+pymysql://u@h/d"
    for url in ("postgresql+psycopg2://u@h/d", "sqlite:///x.db", "mysql+pymysql://u@h/d"):
        assert storage.with_driver(url) == url


word = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1)


@given(
    word, st.text(st.characters(codec="ascii", categories=("L", "N", "P"), exclude_characters="/"), min_size=6), word
)
def test_no_password_is_shown(user: str, password: str, host: str) -> None:
    shown = masked(f"--storage postgresql://{user}:{password}@{host}/db: no answer")
    assert shown == f"--storage postgresql://{user}:***@{host}/db: no answer"
    assert (
        masked(f"mysql://{host}/db?user={user}&password=secret!&x=1")
        == f"mysql://{host}/db?user={user}&password=***&x=1"
    )
    assert masked(f"http://{host}:8080/x and {user}") == f"http://{host}:8080/x and {user}"


@pytest.mark.parametrize("url", ["postgresql://me:secret@127.0.0.1:1/db", "mysql://me:secret@127.0.0.1:1/db"])
def test_a_server_that_is_not_there_is_named_without_the_password(url: str) -> None:
    with pytest.raises(UserError, match="cannot be opened") as caught:
        storage.open_storage(url)
    assert "secret" not in str(caught.value) and "me:***@127.0.0.1:1/db" in str(caught.value)


# Who may help


def lined_up(tmp_path: Path, **facts: Any) -> Queue:
    """A sweep's queue as another host sees it."""
    sweep = sweep_of(tmp_path / "one")
    sweep = conduct.Sweep(**{**sweep.__dict__, "facts": {**sweep.facts, **facts}})
    conduct.set_up(sweep, Attempts(sweep.jobs, sweep.runs))
    return Queue.load(storage.open_storage(sweep.storage), sweep.queue)


def test_another_text_is_refused_naming_both_digests(tmp_path: Path) -> None:
    join.check(lined_up(tmp_path / "same"), None)
    with pytest.raises(UserError, match=rf"digest is {DIGEST}, the sweep's is 0123abcd; use the sweep's code, commit"):
        join.check(lined_up(tmp_path / "other", corpus_digest="0123abcd"), None)


def test_another_commit_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    join.check(lined_up(tmp_path, commit="0123abcd"), None)
    assert "the sweep's at 0123abcd" in capsys.readouterr().out


def test_text_in_a_folder_is_looked_for_here_and_compared(tmp_path: Path) -> None:
    for place, line in (("there", "one\n"), ("here", "one\n"), ("other", "two\n")):
        (tmp_path / place).mkdir()
        for name in (f"{split}.{side}" for split in corpus.SPLITS for side in ("de", "en")):
            (tmp_path / place / name).write_text(line)
    config = flat(with_values(RunConfig(), {"data": str(tmp_path / "there")}))
    digest = corpus.digest(with_values(RunConfig(), config).data)
    job = plan.Job("s", "a", "A", 1, records.identity(config, digest), config, {}, {})
    queue = Queue.create(storage.open_storage(str(tmp_path / "journal")), "q", ["a"], study="s", corpus=digest)
    queue.add(job, TrialState.WAITING)
    join.check(queue, None)
    (tmp_path / "there").rename(tmp_path / "gone")
    with pytest.raises(UserError, match=r"is not at .*there on this host; say where: --data"):
        join.check(queue, None)
    join.check(queue, str(tmp_path / "here"))
    with pytest.raises(UserError, match=rf"other: its digest is .*, the sweep's is {digest}; give the same text"):
        join.check(queue, str(tmp_path / "other"))
    moved = job.with_text(str(tmp_path / "here"))
    assert moved.config["data"] == str(tmp_path / "here") and moved.key == job.key


def test_the_sweep_is_found_by_name_where_there_are_several(tmp_path: Path) -> None:
    opened = storage.open_storage(str(tmp_path / "journal"))
    with pytest.raises(UserError, match="holds no sweep; start it first"):
        join.queue_for(opened, "")
    Queue.create(opened, "modules-1", ["a"], study="modules")
    assert join.queue_for(opened, "") == "modules-1"
    Queue.create(opened, "steps-1", ["a"], study="steps")
    transfer.store_of(opened, "steps-1")
    assert join.queue_for(opened, "steps") == "steps-1"
    with pytest.raises(UserError, match=r"several sweeps fit; choose by --queue: modules-1 .*steps-1"):
        join.queue_for(opened, "")
    with pytest.raises(UserError, match="no sweep of study sizes"):
        join.queue_for(opened, "sizes")


def worker_says(where: Path, runs: Path, *options: str) -> str:
    """What a worker on another host says that is refused."""
    line = [*ME, "work", "--runs", str(runs), *options]
    env = os.environ | {storage.ENVIRONMENT: str(where), "PYTHONPATH": str(ROOT), "WANDB_MODE": "disabled"}
    done = subprocess.run(line, capture_output=True, text=True, env=env, timeout=60, check=False)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    return done.stderr


@pytest.mark.parametrize("fields", [{"study": "../x"}, {"arm": "../../x"}, {"study": ""}, {"arm": "a/b"}, {"new": 1}])
def test_runs_whose_names_lead_out_of_the_folder_are_refused(tmp_path: Path, fields: dict[str, Any]) -> None:
    opened = storage.open_storage(str(tmp_path / "journal"))
    queue, job = Queue.create(opened, "q", ["a"], study="s", corpus=DIGEST), jobs_for("a", 1)[0]
    trial = queue.add(job, TrialState.WAITING)
    queue.note(trial, job={**asdict(job), **fields})
    wrong = "is not a run of this version" if "new" in fields else "names no folder"
    assert wrong in worker_says(tmp_path / "journal", tmp_path / "deep" / "runs")
    assert not list(tmp_path.rglob("run.json"))


def test_a_study_whose_name_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    Queue.create(storage.open_storage(str(tmp_path / "journal")), "q", ["a"], study="../../x")
    said = worker_says(tmp_path / "journal", tmp_path / "deep" / "runs")
    assert "'../../x' names no folder" in said and not (tmp_path / "x").exists() and not (tmp_path / "deep").exists()


def test_what_is_no_sweep_is_helped_by_nobody(tmp_path: Path) -> None:
    opened = storage.open_storage(str(tmp_path / "journal"))
    optuna.create_study(storage=opened, study_name="theirs")
    assert "theirs is no sweep" in worker_says(tmp_path / "journal", tmp_path / "runs", "--queue", "theirs")
    Queue.create(opened, "modules-search-1-runs", ["a"])
    said = worker_says(tmp_path / "journal", tmp_path / "runs", "--queue", "modules-search-1-runs")
    assert "is a search, which needs its run folder" in said and not (tmp_path / "runs").exists()


def test_a_worker_taken_for_dead_while_it_delivers_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = storage.open_storage(str(tmp_path / "journal"))
    queue, job = Queue.create(opened, "q", ["a"], study="s", send=True), jobs_for("a", 1)[0]
    folder = finished(tmp_path / "runs")
    trial = queue.add(job, TrialState.WAITING)
    assert queue.take(trial)
    send = transfer.send

    def slowly(*arguments: Any) -> Any:
        queue.drop(trial, "no sign of life")
        return send(*arguments)

    monkeypatch.setattr(transfer, "send", slowly)
    queue.deliver(job, folder, "bleu", "here", trial)
    trials = queue.of(job.key)
    assert [t.state for t in trials] == [TrialState.FAIL, TrialState.COMPLETE]
    assert transfer.fetch(opened, trials[1].user_attrs["parcel"]) == transfer.pack(folder)


def test_of_two_trials_for_a_run_only_the_older_is_taken(tmp_path: Path) -> None:
    opened = storage.open_storage(str(tmp_path / "journal"))
    queue, job = Queue.create(opened, "q", ["a"], study="s"), jobs_for("a", 1)[0]
    first, second = queue.add(job, TrialState.WAITING), queue.add(job, TrialState.WAITING)
    assert not queue.take(second) and queue.take(first) and not queue.take(first)
    assert [t.state for t in queue.of(job.key)] == [TrialState.RUNNING, TrialState.FAIL]
    queue.drop(first, "died")
    third = queue.add(job, TrialState.WAITING)
    assert queue.take(third), "an older one that is over stands in nobody's way"
