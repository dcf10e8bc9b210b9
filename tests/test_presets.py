"""Factors, studies and presets: sound, complete, and valid for every method."""

import json
from typing import Any

import pytest

from ablations import factors, presets, studies
from ablations.run import parse
from core import methods
from core.config import RunConfig, all_options, flat, with_values
from core.errors import UserError


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


def test_without_any_option_it_is_the_usual_preset() -> None:
    assert parse([]).run == presets.get("tiny").config
    assert parse(["--data", "text"]).preset == "small"


def test_every_option_has_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"])
    text = " ".join(capsys.readouterr().out.split()).replace("-", "_")
    for name in all_options(RunConfig()):
        assert f"__{name}" in text, name


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
