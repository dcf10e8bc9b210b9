"""Absurd sizes end at once, naming the option, before anything is allocated; what a dry run refuses."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ablations import presets
from ablations.distill import __main__ as distill
from ablations.launch import launch
from ablations.place import Place
from core import methods, sizes
from core.checks import LARGEST, LEAST_TYPES, check, check_threads
from core.config import RunConfig, all_options, with_values
from core.errors import UserError
from core.evaluator import new_network
from core.text.materials import prepare as prepare_text
from core.text.tokenizer import SMALLEST_BPE
from core.use import load_text, train
from sweeps.running.options import StudyOptions, SweepOptions
from sweeps.running.prepare import prepare, recipe_of
from sweeps.tuning import options as search_options
from sweeps.tuning.options import SearchOptions

GB = 10**9


@pytest.mark.parametrize("name", [name for name in LARGEST if name not in ("beam", "least_length")])
def test_absurd_sizes_are_refused_by_name(name: str) -> None:
    with pytest.raises(UserError, match=rf"option {name}: 100,000,000,000,000,000,000 is too large; at most"):
        check(with_values(RunConfig(), {name: 10**20}))


def test_an_absurd_beam_is_refused_by_name() -> None:
    with pytest.raises(UserError, match="option beam: 1,000,000,000 is too large"):
        check(with_values(RunConfig(), {"method": "autoregressive", "beam": 10**9}))


@pytest.mark.parametrize("value", [1e9, -1.0])
def test_a_penalty_that_no_length_can_have_is_refused(value: float) -> None:
    with pytest.raises(UserError, match=r"option length_penalty: .* must lie between 0 and 10"):
        check(with_values(RunConfig(), {"method": "autoregressive", "length_penalty": value}))


def test_an_absurd_least_length_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"option least_length: .* is too large; at most 1,000,000"):
        check(with_values(RunConfig(), {"method": "cmlm", "least_length": 10**40}))


def test_lengths_and_noises_are_counted_together() -> None:
    with pytest.raises(UserError, match="option noise_candidates: 7 lengths x 900 noises make 6,300 candidates"):
        check(with_values(RunConfig(), {"length_candidates": 7, "noise_candidates": 900}))


def test_long_trainings_are_no_absurd_ones() -> None:
    many = {name: 10**9 for name in ("updates", "warmup", "log_every", "valid_every", "valid_sentences", "train_limit")}
    check(with_values(RunConfig(), many))
    sizes.check_memory(with_values(RunConfig(), many))


@pytest.mark.parametrize("threads", [0, -1, 10**9])
def test_threads_that_no_process_has(threads: int) -> None:
    with pytest.raises(UserError, match="option threads: "):
        check_threads(threads)


def test_text_from_python_is_checked_before_it_is_written() -> None:
    with pytest.raises(UserError, match="option corpus_heldout: 100,000,000 is too large"):
        load_text(corpus_heldout=10**8)


def test_the_smallest_vocabulary_is_the_same_for_the_check_and_the_tokenizer() -> None:
    assert LEAST_TYPES == SMALLEST_BPE


# Memory


@pytest.mark.parametrize(
    ("values", "name", "what"),
    [
        ({"model_dim": 50_000}, "model_dim", "the weights of the layers"),
        ({"ffn_dim": 100_000, "encoder_layers": 900}, "encoder_layers", "a batch"),
        ({"max_length": 1_000_000, "model_dim": 4096}, "max_length", "the position tables"),
        ({"batch_tokens": 10_000_000}, "batch_tokens", "a batch"),
        ({"corpus_pairs": 10_000_000, "batch_tokens": 64}, "corpus_pairs", "the embedded corpus"),
    ],
)
def test_what_does_not_fit_is_named(
    values: dict[str, Any], name: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizes, "memory", lambda: 4 * GB)
    monkeypatch.setattr(sizes, "GPU", Path("nowhere"))
    config = with_values(RunConfig(), values)
    check(config)
    said = rf"option {name}: {values[name]:,} asks for .* GB of memory at the least \({what}.*this machine has 4.0 GB"
    with pytest.raises(UserError, match=said):
        sizes.check_memory(config)
    monkeypatch.setattr(sizes, "memory", lambda: None)
    sizes.check_memory(config)


OPTIONS: dict[str, Any] = {
    name: value for name, value in presets.SMOKE.items() if name != "vocab_size" and "corpus" not in name
}
BEGUN: dict[str, Callable[[Path], object]] = {
    "a sweep": lambda folder: prepare(SweepOptions(preset="smoke", runs=folder), "sweeps.study"),
    "a run": lambda folder: launch(presets.get("smoke").config, Place(runs=folder), "smoke"),
    "a distillation": lambda folder: distill.distill(
        distill.parse(["--preset", "smoke", "--out", str(folder / "new")])
    ),
    "from Python": lambda folder: train(load_text(corpus_pairs=50, corpus_heldout=5), folder=folder / "new", **OPTIONS),
}


@pytest.mark.parametrize("what", BEGUN)
def test_memory_is_estimated_before_anything_is_begun(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizes, "memory", lambda: 10_000)
    with pytest.raises(UserError, match=r"asks for .* of memory at the least .*and this machine has 0\.0 GB"):
        BEGUN[what](tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_memory_is_estimated_again_once_the_types_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    config = presets.get("smoke").config
    method, materials = methods.method_for(config.method), prepare_text(config.data)
    needed = sum(need.bytes for need in sizes.needs(all_options(config), len(materials.tokenizer)))
    monkeypatch.setattr(sizes, "memory", lambda: int(needed) + 1)
    new_network(config, method, materials, torch.device("cpu"))
    monkeypatch.setattr(sizes, "memory", lambda: int(needed) - 1)
    with pytest.raises(UserError, match=r"asks for .* of memory at the least"):
        new_network(config, method, materials, torch.device("cpu"))


def test_a_batch_on_a_gpu_is_the_gpus_affair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "memory", lambda: 4 * GB)
    monkeypatch.setattr(sizes, "GPU", Path(__file__))
    sizes.check_memory(with_values(RunConfig(), {"batch_tokens": 10_000_000}))


@settings(max_examples=15)
@given(
    st.sampled_from([name for name in methods.names() if "model_dim" in all_options(RunConfig(methods.options(name)))]),
    st.fixed_dictionaries(
        {
            "model_dim": st.sampled_from([16, 64]),
            "ffn_dim": st.integers(1, 300),
            "encoder_layers": st.integers(1, 3),
            "decoder_layers": st.integers(1, 3),
            "max_length": st.integers(3, 500),
        }
    ),
    st.integers(5, 3000),
)
def test_the_estimate_never_exceeds_what_the_weights_really_take(
    method: str, values: dict[str, Any], types: int
) -> None:
    config = with_values(RunConfig(), {"method": method, **values})
    network = methods.method_for(config.method).build(types, config.data.max_length)
    weights = sum(value.numel() for value in network.parameters())
    found = [need.bytes for need in sizes.needs(all_options(config), types) if need.what.endswith("in training")]
    estimated = sum(found) - found[-1]  # the batch
    assert weights / 3 < estimated / sizes.TRAINED <= weights * 1.001


def test_this_machine_says_what_it_has() -> None:
    there = sizes.memory()
    assert there is None or there > GB / 2


# What a sweep refuses before it starts, and so its dry run


@pytest.mark.parametrize(
    ("study", "overrides", "said"),
    [
        ("modules", ("model_dim=1000000000",), "option model_dim: 1,000,000,000 is too large"),
        ("steps", ("diffusion_steps=20",), r"option decoding_steps: 50 must lie between 1 and .* \(arm K50\)"),
        ("modules", ("max_length=3",), "none of the 20000 pairs fits into 3 tokens"),
    ],
)
def test_a_sweep_refuses_what_its_runs_would_refuse(study: str, overrides: tuple[str, ...], said: str) -> None:
    with pytest.raises(UserError, match=said):
        prepare(SweepOptions(study=study, overrides=overrides), "sweeps.study")


def test_a_sweep_of_a_folder_refuses_a_vocabulary_that_no_tokenizer_has(tmp_path: Path) -> None:
    for name in ("train", "valid", "test"):
        for suffix in ("de", "en"):
            (tmp_path / f"{name}.{suffix}").write_text("a word\n")
    with pytest.raises(UserError, match="option vocab_size: 100 is too small; at least 260"):
        prepare(SweepOptions(data=str(tmp_path), overrides=("vocab_size=100",)), "sweeps.study")


def test_a_folder_of_runs_that_cannot_be_is_refused_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=r"--runs .*/file/runs: .*/file is no folder"):
        prepare(SweepOptions(runs=tmp_path / "file" / "runs"), "sweeps.study")
    prepare(SweepOptions(runs=tmp_path / "new" / "runs"), "sweeps.study")
    assert not (tmp_path / "new").exists()


def test_absurd_numbers_of_runs_are_refused() -> None:
    recipe, seeds = recipe_of(StudyOptions(seeds=10**9))
    with pytest.raises(UserError, match="--seeds 1000000000: these are 8,000,000,000 runs"):
        recipe.jobs(seeds)
    with pytest.raises(UserError, match="--workers 1000000000: is too large"):
        prepare(SweepOptions(workers=10**9), "sweeps.study")
    for name, options in (
        ("trials", SearchOptions(trials=10**9)),
        ("trial-seeds", SearchOptions(trial_seeds=10**9)),
    ):
        with pytest.raises(UserError, match=f"--{name} 1000000000: is too large"):
            search_options.check(options)
