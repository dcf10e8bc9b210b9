"""Searches: the same budget for every arm, rounds, pruning, failures; killed and gone on with; importance."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial
from searching import CONTROL, ME, OTHER, UPDATES, formula, search_of, serially

from ablations import records
from ablations.metrics_log import latest
from core.errors import UserError
from core.run_folder import plain
from sweeps.running import display
from sweeps.running.plan import job_from
from sweeps.tuning import search_record
from sweeps.tuning.arm_trials import DECODING, TRAINING, best, part
from sweeps.tuning.budget import seconds_ahead
from sweeps.tuning.importance import importance, over_all
from sweeps.tuning.loop import begin, run_search
from sweeps.tuning.rounds import Search, complete, opened

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def no_wandb(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests are about the search."""
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{ROOT / 'tests'}")


def trials(search: Search, arm: str, which: str | None = None) -> list[Any]:
    """An arm's trials, or those of a part by index."""
    found = search.arm_trials[arm].read()
    return part(found, which) if which else found


def told(search: Search, arm: str) -> list[tuple[Any, ...]]:
    """All that came out of an arm's trials."""
    return [(t.state, t.params, t.values, t.user_attrs["values"], t.user_attrs["kind"]) for t in trials(search, arm)]


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def start(runs: Path) -> subprocess.Popen[str]:
    """A whole search in a process of its own."""
    pipe = subprocess.PIPE
    heed = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731 (ignored where tests run in the background)
    return subprocess.Popen([*ME, "search", str(runs)], stdout=pipe, stderr=pipe, text=True, preexec_fn=heed)


# Fairness


def test_every_arm_gets_the_same_rounds_from_the_same_start(tmp_path: Path) -> None:
    search = search_of(tmp_path, pruner="none")
    serially(search)
    assert complete(search) == 7
    for arm in (CONTROL, OTHER):
        trained = trials(search, arm, TRAINING)
        assert [t.user_attrs["kind"] for t in trained] == ["default"] + ["shared"] * 4 + ["proposed"] * 2
        assert trained[0].params == search.spaces[arm].defaults
        assert [t.user_attrs["round"] for t in trials(search, arm, DECODING)] == list(range(7))
        assert all(t.user_attrs["updates"] == 2 * UPDATES for t in trained)
    ours, theirs = ([t.params["lr"] for t in trials(search, arm, TRAINING)] for arm in (CONTROL, OTHER))
    assert ours[:5] == theirs[:5] and ours[5:] != theirs[5:], "the same start, then each by its own results"
    spent = search_record.record(search, 1.0, False)["spent"]
    assert spent[CONTROL] == spent[OTHER] == {
        "trials": 7, "decodings": 7, "pruned": 0, "failed": 0, "updates": 7 * 2 * UPDATES, "seconds": 28.0,
    }  # fmt: skip


def test_decodings_keep_the_best_training_and_train_nothing(tmp_path: Path) -> None:
    search = search_of(tmp_path, decodings=2, pruner="none", trials=3)
    serially(search)
    own = trials(search, CONTROL)
    for trial in trials(search, CONTROL, DECODING):
        leader = best([t for t in own if t.number < trial.number])
        assert leader is not None
        assert {n: trial.params[n] for n in search.spaces[CONTROL].training.dimensions} == {
            n: leader.params[n] for n in search.spaces[CONTROL].training.dimensions
        }
        assert trial.user_attrs["updates"] == 0


@pytest.mark.slow
def test_each_arm_finds_its_own_best_on_the_validation_score(tmp_path: Path) -> None:
    search = search_of(tmp_path, trials=12)
    serially(search)
    content = search_record.write(search, 3.0, finished=True)
    for arm, peak in ((CONTROL, 0.001), (OTHER, 0.004)):
        chosen = content["best"][arm]
        assert chosen["value"] > chosen["default_value"]
        assert abs(chosen["params"]["lr"] / peak - 1) < 0.5
        assert chosen["options"]["early_stop"] == chosen["options"]["decoding_steps"] // 4
        assert set(chosen["values"]) == {"101", "102"}
        assert max(content["importance"]["arms"][arm], key=content["importance"]["arms"][arm].get) == "lr"
    assert json.loads((search.folder / "search.json").read_text()) == plain(content)


@pytest.mark.slow
def test_points_do_not_depend_on_workers(tmp_path: Path) -> None:
    alone, together = search_of(tmp_path / "1", trials=6), search_of(tmp_path / "2", trials=6)
    serially(alone)
    content = run_search(together, (*ME, "work"), 0.05, lambda line: None)
    for arm in (CONTROL, OTHER):
        assert told(alone, arm) == told(together, arm)
    assert content["finished"] and content["rounds"] == 6
    runs = list(together.folder.glob("*/executions"))
    assert runs and all(path.stat().st_size == 1 for path in runs), "no run twice"


def test_only_the_best_trainings_keep_their_weights(tmp_path: Path) -> None:
    search = search_of(tmp_path, trials=3)
    serially(search)
    search_record.tidy(search)
    kept = {path.parent.name for path in search.folder.glob("*/*.safetensors")}
    trained = {run for arm in (CONTROL, OTHER) for t in trials(search, arm, TRAINING) for run in t.user_attrs["runs"]}
    assert len(kept) == 4 and kept < trained


# The budget


def test_a_round_begins_only_with_room_for_all_arms(tmp_path: Path) -> None:
    """A run takes 1 s of work here: a round of two arms, two seeds, one decoding takes 8 s, on two workers 4 s."""
    search = search_of(tmp_path, trials=None, budget=11.9, pruner="none")
    serially(search)
    assert complete(search) == opened(search) == 2, "two rounds take 8 s, the third would end after 12"
    assert seconds_ahead(search, 2) == pytest.approx(4.0)
    more = search_of(tmp_path, trials=None, budget=12.1, pruner="none")
    assert seconds_ahead(more, 2) == pytest.approx(4.0)
    serially(search_of(tmp_path, trials=3, budget=None, pruner="none"))
    assert complete(search_of(tmp_path)) == 3


def test_rounds_that_not_all_arms_finished_do_not_count(tmp_path: Path) -> None:
    search = search_of(tmp_path, trials=3)
    serially(search)
    space = search.spaces[CONTROL]
    search.arm_trials[CONTROL].begin(space, space.defaults, part=TRAINING, kind="proposed", index=3, round=3)
    content = search_record.record(search, 1.0, False)
    assert content["rounds"] == 3 and content["rounds_begun"] == 4
    assert content["spent"][CONTROL]["trials"] == 3


# Pruning and failures


def test_a_training_behind_the_median_is_ended_and_recorded(tmp_path: Path) -> None:
    search = search_of(tmp_path, trials=8)
    serially(search)
    pruned = [t for t in trials(search, CONTROL) if t.state == TrialState.PRUNED]
    assert pruned and all(t.user_attrs["part"] == TRAINING for t in pruned)
    early = [t for t in pruned if "pruned" in t.user_attrs["outcomes"]]
    assert early and early[0].user_attrs["updates"] < 2 * UPDATES
    assert 0 < early[0].user_attrs["value"] < formula(search.config, 0.001), "the value so far"
    assert opened(search) == complete(search) == 8, "a pruned trial is a trial"
    kept = [t for t in trials(search, CONTROL, TRAINING)[:3]]
    assert all(t.state == TrialState.COMPLETE for t in kept), "three must be through before one is pruned"


def test_wilcoxon_ends_a_trial_between_seeds(tmp_path: Path) -> None:
    search = search_of(tmp_path, (CONTROL,), pruner="wilcoxon", seeds=tuple(range(101, 109)), trials=6)
    serially(search)
    pruned = [t for t in trials(search, CONTROL, TRAINING) if t.state == TrialState.PRUNED]
    assert pruned and all(4 <= len(t.user_attrs["runs"]) < 8 for t in pruned), "four worse seeds give p = 1/16"
    assert all(t.user_attrs["outcomes"] == ["ok"] * len(t.user_attrs["runs"]) for t in pruned)


def test_a_failing_arm_spends_its_trials_and_the_others_go_on(tmp_path: Path) -> None:
    search = search_of(tmp_path, trials=2, behaviour={OTHER: "fail"})
    serially(search)
    content = search_record.record(search, 1.0, True)
    assert content["spent"][OTHER]["failed"] == content["spent"][OTHER]["trials"] + content["spent"][OTHER]["decodings"]
    assert content["best"][OTHER] is None and content["best"][CONTROL]
    assert {t["reason"] for t in content["trials"] if t["state"] == "failed"} == {"no luck"}


def test_a_refusal_ends_the_search_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="your text is unusable"):
        serially(search_of(tmp_path, behaviour={OTHER: "refuse"}))


# Killed, interrupted, doubled


@pytest.mark.slow
def test_killed_it_goes_on_to_the_same_end(tmp_path: Path) -> None:
    undisturbed = search_of(tmp_path / "a", trials=3)
    serially(undisturbed)
    search = search_of(tmp_path / "b", trials=3, behaviour={CONTROL: "slow", OTHER: "die once"})
    parent = start(tmp_path / "b")
    until(lambda: any(latest(p) for p in search.folder.glob(f"{CONTROL}*/metrics.jsonl")))
    parent.kill()
    parent.communicate()
    until(lambda: not any(records.busy(p.parent) for p in search.folder.glob("*/run.json")))
    again = search_of(tmp_path / "b", trials=3, behaviour={OTHER: "die once"})
    content = run_search(again, (*ME, "work"), 0.05, lambda line: None)
    assert content["rounds"] == 3
    for arm in (CONTROL, OTHER):
        assert told(again, arm) == told(undisturbed, arm)
    assert not [t for arm in (CONTROL, OTHER) for t in trials(again, arm) if t.state == TrialState.RUNNING]


def test_a_worker_that_dies_as_it_takes_a_run_holds_nothing_up(tmp_path: Path) -> None:
    loop = begin(search_of(tmp_path))
    loop.advance(True)
    taken = loop.queue.trials(TrialState.WAITING)[0]
    assert loop.queue.take(taken), "and dies before it says where it is"
    loop.advance(True)
    old, new = loop.queue.of(job_from(taken.user_attrs).key)
    assert (old.state, new.state) == (TrialState.FAIL, TrialState.WAITING)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_it_ends_in_order_and_says_so(tmp_path: Path, number: signal.Signals, status: int) -> None:
    search = search_of(tmp_path, behaviour={CONTROL: "slow", OTHER: "slow"})
    parent = start(tmp_path)
    until(lambda: any(latest(p) for p in search.folder.glob("*/metrics.jsonl")))
    parent.send_signal(number)
    _, err = parent.communicate(timeout=60)
    assert parent.returncode == status and "Traceback" not in err
    assert "0 of 1 rounds are complete; the same command goes on" in err
    content = json.loads((search.folder / "search.json").read_text())
    assert not content["finished"] and content["rounds"] == 0 and content["spent_s"] > 0


def test_in_long_trainings_it_says_that_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display, "REMINDER_SECONDS", 0.5)
    said: list[str] = []
    search = search_of(tmp_path, trials=1, budget=600.0, behaviour={CONTROL: "slow", OTHER: "slow"})
    run_search(search, (*ME, "work"), 0.05, said.append)
    reminders = [line for line in said if line.startswith("running   ")]
    assert any(re.search(rf"{re.escape(CONTROL)} seed 10[12] \d/{UPDATES}\b", line) for line in reminders), said
    assert all(re.search(r"; round 1, \d+ s of 10 min$", line) for line in reminders)


@pytest.mark.slow
def test_two_at_once_share_the_work(tmp_path: Path) -> None:
    search = search_of(tmp_path, trials=2, workers=1)
    both = [start(tmp_path), start(tmp_path)]
    for parent in both:
        out, err = parent.communicate(timeout=120)
        assert parent.returncode == 0, out + err
    assert complete(search) == opened(search) == 2
    assert all(path.stat().st_size == 1 for path in search.folder.glob("*/executions"))


def test_one_in_another_folder_with_the_same_storage_is_refused(tmp_path: Path) -> None:
    """Both would make all runs, and each would find trials over that it is at."""
    where = str(tmp_path / "shared.journal")
    begin(search_of(tmp_path / "one", storage=where))
    begin(search_of(tmp_path / "one", storage=where))
    with pytest.raises(UserError, match=r"--storage .*shared.journal: holds this search as .* made in .*one/m-search"):
        begin(search_of(tmp_path / "two", storage=where))
    (tmp_path / "one").rename(tmp_path / "moved")
    begin(search_of(tmp_path / "moved", storage=where))


def test_a_lost_storage_is_filled_from_search_json_and_other_settings_are_refused(tmp_path: Path) -> None:
    search = search_of(tmp_path, trials=5)
    serially(search)
    search_record.write(search, 9.0)
    fresh = search_of(tmp_path, trials=5, storage=str(tmp_path / "other.journal"))
    content = run_search(fresh, (*ME, "work"), 0.05, lambda line: None)
    assert told(fresh, CONTROL) == told(search, CONTROL) and content["spent_s"] >= 9.0
    changed = search_of(tmp_path, pruner="none")
    object.__setattr__(changed, "name", "another")
    with pytest.raises(UserError, match=r"other settings \(pruner: median\)"):
        search_record.restore(changed)


# Importance and the front


def test_fanova_gives_a_parameter_that_alone_matters_all_of_it() -> None:
    """y = x: all of the variance is x's; y = x + 2 z on the unit square: z has 4/5 of it, x 1/5."""
    distributions = {"x": FloatDistribution(0, 1), "z": FloatDistribution(0, 1)}
    points = [{"x": x / 9, "z": z / 9} for x in range(10) for z in range(10)]

    def shares(y: Callable[[float, float], float]) -> dict[str, float]:
        made = [create_trial(value=y(p["x"], p["z"]), params=p, distributions=dict(distributions)) for p in points]
        return importance(made, distributions)

    alone = shares(lambda x, z: x)
    assert alone["x"] > 0.99 and list(alone) == ["x", "z"] and sum(alone.values()) == pytest.approx(1)
    both = shares(lambda x, z: x + 2 * z)
    assert both["z"] == pytest.approx(0.8, abs=0.03) and both["x"] == pytest.approx(0.2, abs=0.03)
    assert importance([], distributions) == {}
    assert shares(lambda x, z: 1.0) == {}, "no variance, no shares"


def test_over_all_arms_the_arm_is_one_more_option() -> None:
    distributions = {"x": FloatDistribution(0, 1)}
    by_arm = {
        arm: [create_trial(value=base, params={"x": i / 9}, distributions=dict(distributions)) for i in range(10)]
        for arm, base in (("a", 10.0), ("b", 50.0))
    }
    found = over_all(by_arm, distributions)
    assert found["arm"] > 0.98 and set(found) == {"arm", "x"}


def test_the_front_holds_what_nothing_beats() -> None:
    made = [create_trial(values=values, params={}, distributions={}) for values in ([9.0, 5.0], [8.0, 1.0], [7.0, 2.0])]
    study = optuna.create_study(directions=["maximize", "minimize"])
    study.add_trials(made)
    assert search_record.pareto(study.trials) == [0, 1]
    assert {t.number for t in study.best_trials} == {0, 1}, "as Optuna has it"
