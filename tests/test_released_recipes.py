"""The released recipes as presets, their other forms, and what a study as released gives each arm."""

import contextlib
from dataclasses import replace
from typing import Any

import pytest

from ablations import presets, studies
from ablations.run import parse
from core import methods
from core.checks import check
from core.config import RunConfig, all_options, flat, with_values
from core.errors import UserError
from sweeps.running.recipe import Recipe


def released() -> list[str]:
    """The methods that have a released recipe."""
    found = []
    for name in methods.names():
        with contextlib.suppress(UserError):
            found += [name] if methods.released(name) else []
    return found


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
    study = presets.get("as_released").applied(replace(studies.get("systems"), control=name, given={option: value}))
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


def test_a_method_without_a_released_recipe_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("core.methods.cmlm_options.AS_RELEASED")
    with pytest.raises(UserError, match=r"recipe: write AS_RELEASED in core/methods/cmlm_options.py, or"):
        presets.get("as_released").config_for("cmlm")
