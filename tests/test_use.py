"""The suite from Python: a folder is for one training, and what cannot be decoded, or was not learned, is said."""

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from ablations import presets
from core import load_text, model_folder, train
from core.config import flat, with_values
from core.errors import UserError
from core.model import Model
from core.run_folder import STATE, TOKENIZER
from core.sections import DecodingConfig

SMOKE = presets.get("smoke").config
TEXT = {name: getattr(SMOKE.data, name) for name in ("corpus_pairs", "corpus_heldout", "corpus_lexicon", "vocab_size")}
OPTIONS = {name: value for name, value in presets.SMOKE.items() if name not in TEXT}


def trained(folder: Path, **options: Any) -> Model:
    """A model of the smoke preset."""
    return train(load_text(**TEXT), folder=folder, **OPTIONS | options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("training")


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return trained(folder)


def test_the_same_training_is_found_again(model: Model, folder: Path) -> None:
    again = trained(folder, log_every=4)
    assert flat(again.config) == flat(model.config)
    ours, theirs = model.network.state_dict(), again.network.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"noise_factor": 1.0}, "noise_factor 4.0 there, 1.0 here"), ({"seed": 2}, "seed 1 there, 2 here")],
)
def test_a_folder_is_not_taken_for_another_training(
    options: dict[str, Any], message: str, model: Model, folder: Path
) -> None:
    with pytest.raises(UserError, match=f"holds a training of other text or options .*{message}"):
        trained(folder, **options)


def test_a_folder_that_says_not_what_it_holds_is_left_alone(model: Model, folder: Path, tmp_path: Path) -> None:
    (tmp_path / STATE).write_bytes((folder / STATE).read_bytes())
    with pytest.raises(UserError, match="holds a training of other text or options"):
        trained(tmp_path)


def test_a_training_that_diverges_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the loss is not a number after \d+ updates; try a lower lr"):
        trained(tmp_path, lr=1e30, warmup=0)


def test_a_model_whose_training_diverged_is_not_used(model: Model, folder: Path, tmp_path: Path) -> None:
    broken = copy.deepcopy(model.network)
    next(broken.parameters()).data[0] = math.nan
    model_folder.save_weights(tmp_path, broken, model.config)
    (tmp_path / TOKENIZER).write_bytes((folder / TOKENIZER).read_bytes())
    with pytest.raises(UserError, match=r"weights are no numbers any more \(the training diverged\)"):
        model_folder.load(tmp_path, torch.device("cpu"))


@pytest.mark.parametrize(
    ("decoding", "message"),
    [
        (DecodingConfig(length_candidates=0), "option length_candidates: 0 must be at least 1"),
        (DecodingConfig(noise_candidates=-1), "option noise_candidates: -1 must be at least 1"),
        (DecodingConfig(fixed_t=7.0), "option fixed_t: 7.0 must lie between 0 and 1"),
        (DecodingConfig(decoding_noise_factor=-2.0), "option decoding_noise_factor: -2.0 must not be negative"),
    ],
)
def test_a_decoding_that_no_run_can_have_is_refused(decoding: DecodingConfig, message: str, model: Model) -> None:
    with pytest.raises(UserError, match=message):
        model.translate(["no makoli"], decoding)


def test_sentences_that_are_too_long_are_counted(model: Model) -> None:
    long = "makoli " * (model.network.max_positions - 1)
    assert len(model.translate([long])) == 1
    for lines in ([f"{long} makoli"], ["no makoli", f"{long} makoli"]):
        with pytest.raises(UserError, match="source longer than 128 tokens: 1 sentences; shorten or split them"):
            model.translate(lines)
    assert model.translate([]) == []


def test_a_process_without_noise_is_refused() -> None:
    with pytest.raises(UserError, match=r"option noise_factor: 0\.001 leaves no noise in the variance-preserving form"):
        with_values(SMOKE, {"variance_preserving": True, "noise_factor": 0.001}).method.check()
