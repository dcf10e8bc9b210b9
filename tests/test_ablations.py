"""Factors, studies and presets; one arm from its command to its run folder; mistakes a user can make."""

import contextlib
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ablations import execute as execution
from ablations import factors, presets, records, shared_training, studies
from ablations import launch as launching
from ablations.execute import execute, folder_of, single_arm
from ablations.place import Place
from ablations.run import parse
from core import checkpoints, methods, run_folder
from core.checks import check
from core.config import RunConfig, all_options, flat, with_values
from core.distributed import RankLost
from core.errors import UserError
from core.text.tokenizer import BOS
from sweeps.running.recipe import Recipe


def released() -> list[str]:
    """The methods that have a released recipe."""
    found = []
    for name in methods.names():
        with contextlib.suppress(UserError):
            found += [name] if methods.released(name) else []
    return found


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


@pytest.mark.parametrize("study", studies.STUDIES.values(), ids=lambda study: study.name)
def test_studies_are_sound(study: studies.Study) -> None:
    names = [arm.name for arm in study.arms]
    assert len(names) == len(set(names)) and study.control in names
    configs = [json.dumps(flat(with_values(RunConfig(), arm.values)), sort_keys=True) for arm in study.arms]
    assert len(configs) == len(set(configs))


def test_modules_are_the_2_x_2_x_2_of_the_paper() -> None:
    arms = studies.get("modules").arms
    assert len(arms) == 8
    full = flat(with_values(RunConfig(), arms[0].values))
    assert (full["token_loss"], full["embedding_norm"], full["noise_factor"]) == ("anchor", "latent", 4.0)
    none = flat(with_values(RunConfig(), arms[-1].values))
    assert (none["token_loss"], none["embedding_norm"], none["noise_factor"]) == ("rounding", "none", 1.0)


@pytest.mark.parametrize("preset", presets.PRESETS.values(), ids=lambda preset: preset.name)
def test_presets_are_valid_options(preset: presets.Preset) -> None:
    assert all_options(preset.config).keys() == all_options(RunConfig()).keys()
    assert preset.purpose and preset.expected and preset.command.startswith("make ")
    assert preset.seeds >= 3 or preset.name == "smoke", "two seeds have no interval"


@pytest.mark.parametrize(
    ("call", "nearest"),
    [
        (lambda: studies.get("module"), "modules"),
        (lambda: presets.get("tinny"), "tiny"),
        (lambda: factors.factor("noise_facto"), "noise_factor"),
        (lambda: with_values(RunConfig(), {"token_los": "anchor"}), "token_loss"),
        (lambda: with_values(RunConfig(), {"schedule": "sqr"}), "sqrt"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(call: Any, nearest: str) -> None:
    with pytest.raises(UserError, match=f"Did you mean '{nearest}'"):
        call()


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


def test_without_any_option_it_is_the_usual_preset() -> None:
    assert parse([]).run == presets.get("tiny").config
    assert parse(["--data", "text"]).preset == "small"


def test_every_option_has_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"])
    text = " ".join(capsys.readouterr().out.split()).replace("-", "_")
    for name in all_options(RunConfig()):
        assert f"__{name}" in text, name


@pytest.mark.parametrize("name", released())
def test_a_released_recipe_is_a_preset(name: str) -> None:
    """All that it says is what the run has."""
    recipe = methods.released(name)
    config = presets.get("as_released").config_for(name)
    check(config)
    found = all_options(config)
    assert config.method.name == name
    assert {option: found[option] for option in recipe} == recipe


FORMS = [(name, *form, recipe) for name in methods.names() for form, recipe in methods.forms(name).items()]


@pytest.mark.parametrize(("name", "option", "value", "recipe"), FORMS)
def test_another_released_form_of_a_method_has_a_recipe_that_its_option_takes(
    name: str, option: str, value: Any, recipe: dict[str, Any]
) -> None:
    chosen = parse(["--preset", "as_released", "--method", name, f"--{option}={value}", "--seed", "3"]).run
    check(chosen)
    found = all_options(chosen)
    assert recipe[option] == value and recipe != methods.released(name)
    assert {each: found[each] for each in recipe} == recipe
    study = presets.get("as_released").applied(replace(studies.get("systems"), given={option: value}))
    (arm,) = [arm for arm in study.arms if arm.name == name]
    assert arm.values == {each: v for each, v in recipe.items() if each != option} | {"method": name}


def test_the_forms_with_a_recipe_of_their_own_are_those_that_are_told_of() -> None:
    assert [each[:3] for each in FORMS] == [
        ("cmlm", "form", "mask_predict"),
        ("diffuseq", "absorbing", True),
        ("rdm", "noise", "multinomial"),
    ]


RECIPES = [(name, methods.released(name)) for name in methods.names()] + [(each[0], each[3]) for each in FORMS]


@pytest.mark.parametrize(("name", "recipe"), RECIPES)
def test_no_released_recipe_has_what_is_meant_for_two_cores(name: str, recipe: dict[str, Any]) -> None:
    """And all share the tokenizer of a study."""
    config = with_values(RunConfig(), {"method": name, **recipe})
    assert config.data == with_values(RunConfig(), methods.released(methods.DEFAULT)).data
    assert config.training.batch_tokens > 1024 and config.training.valid_sentences == 1000
    assert 10 <= config.training.updates / config.training.valid_every <= 100


def test_batches_hold_as_many_sentences_as_the_released_ones() -> None:
    """By the mean length of a pair of IWSLT14; DiffuSeq's are a sixteenth, as there are no micro-batches."""
    sizes = {
        name: methods.released(name)["batch_tokens"] for name in ("diffuseq", "seqdiffuseq", "diffusion_lm", "mdlm")
    }
    assert sizes == {"diffuseq": 26 * 8192 / 16, "seqdiffuseq": 26 * 128, "diffusion_lm": 26 * 64, "mdlm": 26 * 512}
    assert methods.released("diffuseq", {"absorbing": True})["batch_tokens"] == 26 * 2 * 425


def test_diffusion_lms_recipe_is_that_of_one_corpus() -> None:
    recipe = methods.released("diffusion_lm")
    assert [recipe[name] for name in ("latent_dim", "time_dim", "updates")] == [16, 128, 200_000]


def test_dinoisers_recipe_takes_the_best_weights_and_clips_nothing() -> None:
    recipe = methods.released("dinoiser")
    assert [recipe[name] for name in ("averaging", "keep_best", "clip_norm")] == ["best", 1, 1e9]


def test_a_sweep_as_released_gives_each_arm_its_own_recipe() -> None:
    study = presets.get("as_released").applied(
        replace(studies.get("systems").of_arms(released()), given={"updates": 7})
    )
    arms = {arm.name: arm.values for arm in study.arms}
    assert sorted(arms) == released()
    for name, values in arms.items():
        recipe = methods.released(name)
        assert values == {option: v for option, v in recipe.items() if option != "updates"} | {"method": name}
    assert presets.get("tiny").applied(study) is study


def test_a_run_of_a_sweep_as_released_is_that_of_the_command() -> None:
    """Options that two methods have by one name, with other choices, do not meet."""
    recipe = Recipe.of(studies.get("systems").of_arms(released()), "as_released")
    for arm in recipe.study.arms:
        config = with_values(recipe.config, arm.values)
        assert flat(config) == flat(presets.get("as_released").config_for(arm.name))


@pytest.mark.parametrize("study", studies.STUDIES)
@pytest.mark.parametrize("preset", presets.PRESETS)
def test_a_study_goes_with_a_preset_or_names_the_one_that_it_goes_with(
    study: str, preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.sizes.memory", lambda: None)  # released batches need a GPU's
    asked = studies.get(study)
    if preset == "as_released":  # a method of one's own may have no recipe
        asked = asked.of_arms(
            [arm.name for arm in asked.arms if arm.values.get("method", methods.DEFAULT) in released()]
        )
    try:
        Recipe.of(asked, preset).jobs(1)
    except UserError as error:
        assert preset == "iwslt14" and "method" in studies.get(study).factors
        assert "preset iwslt14 does not go with method diffuseq" in str(error) or "(arm diffuseq)" in str(error)


@pytest.mark.parametrize("name", methods.names())
@pytest.mark.parametrize("preset", presets.PRESETS.values(), ids=lambda preset: preset.name)
def test_the_values_of_a_preset_for_a_method_give_its_options(preset: presets.Preset, name: str) -> None:
    """From Python: train(text, name, **values)."""
    try:
        config = preset.config_for(name)
    except UserError:
        with pytest.raises(UserError):
            preset.values_for(name)
        return
    assert flat(with_values(RunConfig(), {"method": name, **preset.values_for(name)})) == flat(config)


def test_a_method_without_a_released_recipe_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("core.methods.cmlm_options.AS_RELEASED")
    with pytest.raises(UserError, match=r"recipe: write AS_RELEASED in core/methods/cmlm_options.py, or"):
        presets.get("as_released").config_for("cmlm")
