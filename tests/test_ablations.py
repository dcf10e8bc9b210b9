"""One arm from its command to its run folder; mistakes a user can make."""

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ablations import execute as execution
from ablations import launch as launching
from ablations import presets, records, shared_training
from ablations.execute import execute, folder_of, single_arm
from ablations.place import Place
from core import checkpoints, run_folder
from core.checks import check
from core.config import RunConfig, with_values
from core.distributed import RankLost
from core.errors import UserError
from core.text.tokenizer import BOS

PROBES = {"source_frequency"} | {
    "types",
    "frequency",
    "norm",
    "norm_raw",
    "t",
    "mse",
    "nll",
    "accuracy",
    "nearest",
    "nearest_F1",
}
FIGURE_5 = {"fig5_t", "oneshot_bleu", "along_t", "along_bleu"}


def smoke(**values: Any) -> RunConfig:
    return with_values(presets.get("smoke").config, values)


def run(config: RunConfig, runs: Path, study: str = "test") -> Path:
    folder = folder_of(config, single_arm(config), study, runs)
    assert records.claim(folder)
    try:
        execute(config, folder, records.NullTracker(), Place(runs, study, "cpu"))
    finally:
        records.release(folder)
    return folder


def scores(folder: Path) -> dict[str, Any]:
    found = json.loads((folder / "scores.json").read_text())
    for row in found["by_steps"]:
        del row["seconds"]
    return dict(found)


def test_a_run_folder_holds_what_the_contract_says(tmp_path: Path) -> None:
    folder = run(smoke(length_candidates=2, noise_candidates=2), tmp_path)
    record = records.read(folder)
    assert record["state"] == "finished" and record["outcome"] == "ok" and record["attempts"] == 1
    assert record["toggles"] == {"anchor_loss": True, "embedding_norm": True, "noise_factor": 4.0}
    assert record["data"]["train_pairs"] == 300 and record["parameters"] > 0 and record["cost"]["train_tokens"] > 0
    assert folder.name == f"anchor+norm+F4-s1-{record['hash']}"
    found = scores(folder)
    assert found["candidates"] == "2x2" and 0 <= found["bleu"] <= 100 and "version:" in found["signature"]
    with np.load(folder / "probes.npz", allow_pickle=False) as probes:
        assert set(probes.files) == PROBES | FIGURE_5
        assert len(probes["norm"]) == len(probes["frequency"]) == record["data"]["vocab_size"]
        assert probes["frequency"][BOS] == 300 and probes["source_frequency"][BOS] == 0
        target_types = int((probes["frequency"] > 0).sum())
        assert target_types < record["data"]["vocab_size"] - 10
        assert np.all((probes["nearest"] <= probes["nearest_F1"] + 0.2) & (probes["accuracy"] <= 1))
    samples = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    assert len(samples) == 16 and len(samples[0]["trajectory"]) == 15
    rows = run_folder.read(folder / "metrics.jsonl")
    assert [row["train/step"] for row in rows] == [1, 4, 6, 8, 12, 12]
    assert {row["diag/types"] for row in rows if "diag/cosine" in row} == {target_types}


def test_same_seed_gives_the_same_scores_and_weights(tmp_path: Path) -> None:
    one, two = run(smoke(), tmp_path / "one"), run(smoke(), tmp_path / "two")
    assert scores(one) == scores(two)
    assert (one / "samples.jsonl").read_text() == (two / "samples.jsonl").read_text()


def test_arms_that_differ_in_decoding_share_one_training(tmp_path: Path) -> None:
    one = run(smoke(), tmp_path)
    before = (one / "model.safetensors").stat().st_mtime_ns
    two = run(smoke(decoding_steps=10, early_stop=2), tmp_path)
    assert records.read(two)["trained_by"] == one.name
    tensors, others = (checkpoints.load(folder / "model.safetensors")[0] for folder in (one, two))
    assert all(bool((tensors[name] == others[name]).all()) for name in tensors)
    assert (one / "model.safetensors").stat().st_mtime_ns == before
    assert scores(two)["decoding_steps"] == 10


def test_what_no_decoding_changes_is_computed_once_for_all_that_share_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Probes stand in the run that was trained; the curve over K is taken from a run that decodes alike but for K."""
    here = {"commit": "abc", "versions": {"torch": "1"}, "device": "cpu", "processor": "one", "threads": 1}
    monkeypatch.setattr(execution, "provenance", lambda device: here)
    made = [run(smoke(**values), tmp_path) for values in ({}, {"decoding_steps": 10}, {"sampler": "ddim"})]
    assert [(folder / "probes.npz").exists() for folder in made] == [True, False, False]
    first, second, other = (json.loads((folder / "scores.json").read_text())["by_steps"] for folder in made)
    assert first == second, "the seconds too: nothing was decoded"
    assert [row["steps"] for row in other] == [row["steps"] for row in first]
    assert [row["seconds"] for row in other] != [row["seconds"] for row in first]
    monkeypatch.setattr(execution, "provenance", lambda device: here | {"commit": "abc+dirty"})
    anew = run(smoke(decoding_steps=5, early_stop=0), tmp_path)
    assert json.loads((anew / "scores.json").read_text())["by_steps"] != first, "by code that may be another"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("other", "shared"),
    [({}, True), ({"commit": None}, False), ({"commit": "abc+dirty"}, False), ({"processor": "another"}, False)],
)
def test_studies_share_a_training_that_would_be_the_same_to_the_last_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: dict[str, Any], shared: bool
) -> None:
    here = {"commit": "abc", "versions": {"torch": "1"}, "device": "cpu", "processor": "one", "threads": 1}
    monkeypatch.setattr(execution, "provenance", lambda device: here)
    one = run(smoke(), tmp_path, "first")
    (broken := tmp_path / "broken" / "run").mkdir(parents=True)
    for name in ("run.json", "model.safetensors", "state.safetensors"):
        (broken / name).write_text("{")
    monkeypatch.setattr(execution, "provenance", lambda device: here | other)
    records.update(one, **{name: value for name, value in other.items() if name == "commit"})
    two = run(smoke(decoding_steps=10), tmp_path, "second")
    assert records.read(two).get("trained_by") == (f"first/{one.name}" if shared else None)
    assert shared_training.find(two, records.read(two)["training_hash"]) is None, "a search is sufficient to itself"
    tensors, others = (checkpoints.load(folder / "model.safetensors")[0] for folder in (one, two))
    assert all(bool((tensors[name] == others[name]).all()) for name in tensors)


def test_a_training_that_is_taken_over_by_half_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = run(smoke(), tmp_path)
    two = one.with_name("two")
    two.mkdir()
    run_folder.write_json(two / "run.json", records.read(one))

    def half(source: Path, target: Path) -> None:
        target.write_bytes(source.read_bytes()[:100])
        if source.name == "state.safetensors":
            raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "copyfile", half)
    with pytest.raises(KeyboardInterrupt):
        shared_training.take_over(two, records.read(one)["training_hash"])
    assert not (two / "state.safetensors").exists() and not list(two.glob(".*.tmp"))


def test_a_run_whose_other_rank_is_lost_can_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*how: Any) -> None:
        raise RankLost("another process of this run ended")

    monkeypatch.setattr(launching, "execute", lost)
    with pytest.raises(RankLost):
        launching.launch(smoke(), Place(runs=tmp_path), "smoke")
    (folder,) = tmp_path.glob("single/*-s1-*")
    record = records.read(folder)
    assert (record["state"], record["refused"]) == ("pending", False) and "another process" in record["reason"]


def test_a_diverged_arm_is_a_result_with_finite_scores(tmp_path: Path) -> None:
    folder = run(smoke(lr=float("inf"), log_every=1), tmp_path)
    assert records.read(folder)["outcome"] == "diverged" and records.read(folder)["state"] == "finished"
    assert np.isfinite(scores(folder)["bleu"])


def command(*arguments: str, cwd: Path, wandb: str = "disabled") -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "WANDB_MODE": wandb}
    line = [sys.executable, "-m", "ablations.run", "--preset", "smoke", *arguments]
    return subprocess.run(line, capture_output=True, text=True, cwd=cwd, env=environment)


def folder_of_text(path: Path, pairs: int = 300) -> Path:
    path.mkdir()
    words = ["der", "die", "das", "haus", "hund", "katze", "baum", "geht", "sieht", "kommt", "heute", "schnell"]
    rng = np.random.default_rng(0)
    for split, count in (("train", pairs), ("valid", 20), ("test", 20)):
        lines = [" ".join(rng.choice(words, rng.integers(3, 9))) for _ in range(count)]
        with gzip.open(path / f"{split}.de.gz", "wt", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
        (path / f"{split}.en").write_text("\n".join(line.upper() for line in lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.slow
def test_a_folder_of_text_runs_and_the_same_command_again_does_nothing(tmp_path: Path) -> None:
    folder_of_text(tmp_path / "text")
    first = command("--data", "text", cwd=tmp_path)
    assert first.returncode == 0 and "BLEU" in first.stdout, first.stderr
    again = command("--data", "text", cwd=tmp_path)
    assert again.returncode == 0 and "finished already" in again.stdout


def damaged(folder: Path, what: str) -> list[str]:
    """Damage the folder; returns what the message must name."""
    if what == "missing file":
        (folder / "valid.en").unlink()
        return ["valid.en"]
    if what == "unequal":
        with open(folder / "test.en", "a") as file:
            file.write("one more\n")
        return ["test.en", "20", "21"]
    if what == "bytes":
        (folder / "train.en").write_bytes(b"good\n\xff\xfe bad\n")
        return ["train.en", "2"]
    if what == "empty side":
        lines = (folder / "valid.en").read_text().splitlines()
        (folder / "valid.en").write_text("\n".join([*lines[:4], "", *lines[5:]]) + "\n")
        return ["valid.en", "5"]
    if what == "gzip":
        (folder / "train.de.gz").write_bytes(b"\x1f\x8b broken")
        return ["train.de.gz"]
    for side in ("test.de.gz", "test.en"):
        (folder / side).unlink()
    (folder / "test.de").write_text("")
    (folder / "test.en").write_text("")
    return ["test"]


@pytest.mark.parametrize("what", ["missing file", "unequal", "bytes", "empty side", "gzip", "empty split"])
def test_bad_text_gets_one_clear_message(what: str, tmp_path: Path) -> None:
    names = damaged(folder_of_text(tmp_path / "text"), what)
    done = command("--data", "text", cwd=tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert all(name in done.stderr for name in names), done.stderr


@pytest.mark.slow
def test_overlong_pairs_are_counted(tmp_path: Path) -> None:
    folder_of_text(tmp_path / "text")
    done = command("--data", "text", "--max_length", "7", cwd=tmp_path)
    assert done.returncode == 0 and "longer than 7 tokens" in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["--noise_facto", "4"], "noise"),
        (["--token_loss", "ancor"], "anchor"),
        (["--updates", "many"], "updates"),
        (["--decoding_steps", "0"], "decoding_steps"),
        (["--heads", "3"], "heads"),
        (["--device", "tpu9"], "device"),
        (["--data", "nowhere"], "nowhere"),
    ],
)
def test_bad_options_get_one_clear_message(arguments: list[str], name: str, tmp_path: Path) -> None:
    done = command(*arguments, cwd=tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert name in done.stderr.replace("-", "_").lower()


@pytest.mark.parametrize(
    "values",
    [
        {"updates": 0},
        {"lr": -1.0},
        {"dropout": 1.5},
        {"noise_factor": 0.0},
        {"log_every": 0},
        {"valid_every": 0},
        {"keep_best": 0},
        {"batch_tokens": 0},
        {"heads": 5},
        {"decoder_heads": 3},
        {"decoding_steps": 0},
        {"decoding_steps": 2001},
        {"early_stop": 20},
        {"fixed_t": 2.0},
        {"max_length": 2},
        {"embedding_std": 0.0},
        {"length_candidates": 0},
    ],
    ids=str,
)
def test_values_no_run_can_have_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"option {next(iter(values))}: "):
        check(with_values(RunConfig(), values))


@pytest.mark.parametrize("token_loss", ["anchor", "rounding", "none"])
def test_bfloat16_trains_and_decodes(token_loss: str, tmp_path: Path) -> None:
    folder = run(smoke(precision="bfloat16", token_loss=token_loss), tmp_path)
    assert records.read(folder)["precision"] == "bfloat16" and records.read(folder)["outcome"] == "ok"


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_scores(tmp_path: Path) -> None:
    arguments = ["--updates", "80", "--checkpoint_seconds", "0", "--log_every", "1", "--valid_every", "40"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "WANDB_MODE": "disabled"}
    line = [sys.executable, "-m", "ablations.run", "--preset", "smoke", *arguments, "--runs", "killed"]
    process = subprocess.Popen(line, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL)
    while process.poll() is None and not list((tmp_path / "killed").glob("*/*/state.safetensors")):
        time.sleep(0.01)
    assert process.poll() is None, "the run was over before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.wait()
    for runs in ("killed", "whole"):
        done = command(*arguments, "--runs", runs, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    killed, whole = (next((tmp_path / runs / "single").glob("anchor*")) for runs in ("killed", "whole"))
    assert scores(killed) == scores(whole)
    steps = [row["train/step"] for row in run_folder.read(killed / "metrics.jsonl") if "train/loss" in row]
    assert steps == list(range(1, 81))
