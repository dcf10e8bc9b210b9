"""Options of the methods learned end to end: the variance-preserving form, what is refused, the released recipes."""

import math
from importlib import import_module
from typing import Any

import pytest
import torch
from end_to_end import BOTH, method, sentences

from ablations import presets
from core.checks import check
from core.config import RunConfig, with_values
from core.errors import UserError
from core.methods.method import Term
from core.training.step import reduced


@pytest.mark.parametrize("name", [*BOTH, "seqdiffuseq"])
def test_the_variance_preserving_form_has_the_signal_to_noise_ratio_of_the_factor(name: str) -> None:
    preserving = method(name, noise_factor=3.0, variance_preserving=True).build(40, 25).process
    with_factor = method(name, noise_factor=3.0).build(40, 25).process
    torch.testing.assert_close(preserving.signal**2 + preserving.noise**2, torch.ones_like(preserving.signal))
    ratios = [(process.signal / process.noise)[:1990] for process in (preserving, with_factor)]
    assert float((ratios[0] / ratios[1]).log().abs().max()) < 0.05, (
        "but for alpha_bar(0), by which schedules are divided"
    )


@pytest.mark.parametrize("name", [*BOTH, "seqdiffuseq"])
def test_in_that_form_it_learns_and_writes(name: str) -> None:
    more = {"variance_preserving": True, "decoding_noise_factor": 2.0, "decoding_variance_preserving": True}
    made, batch = method(name, noise_factor=4.0, decoding_steps=5, **more), sentences([3, 6], [5, 4])
    network = made.build(40, 25)
    assert math.isfinite(float(reduced(made.loss(network, batch, made.draw(network, batch, 1, 0))).detach()))
    found = made.decode(network.eval(), batch, made.options.decoding, 1)
    assert bool(torch.isfinite(found.score).all())


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"method": "diffuseq", "sequence_length": 7}, "option sequence_length: 7 must be at least 8"),
        (
            {"method": "diffuseq", "sequence_length": 10**9},
            "option sequence_length: 1,000,000,000 is too large; at most",
        ),
        ({"method": "diffuseq", "target_length": 1}, "option target_length: 1 must be at least 2"),
        ({"method": "diffuseq", "decoder_heads": 2}, "option decoder_heads: method diffuseq has one stack"),
        ({"method": "diffuseq", "absorb_rate": -1.0}, "option absorb_rate: -1.0 must not be negative"),
        ({"method": "diffuseq", "sequence_length": 64, "restart_positions": True}, "option restart_positions: needs"),
        ({"method": "diffusion_lm", "released_ddim": True}, "option released_ddim: is a slip of sampler=ddim"),
        (
            {"method": "diffuseq", "sampler": "ddim", "released_ddim": True, "decoding_noise_factor": 2.0},
            "option released_ddim: is a slip of sampler=ddim, on the schedule of training with F = 1",
        ),
        (
            {"method": "diffuseq", "variance_preserving": True, "noise_factor": 0.001},
            "option noise_factor: 0.001 leaves no noise",
        ),
        (
            {"method": "seqdiffuseq", "decoding_variance_preserving": True, "decoding_noise_factor": 0.0},
            "option decoding_noise_factor: 0.0 leaves no noise",
        ),
        ({"method": "diffusion_lm", "top_p": 0.0}, "option top_p: 0.0 must be at least 0.1"),
        ({"method": "diffusion_lm", "clamp_step": -1}, "option clamp_step: -1 must be at least 0"),
        ({"method": "diffusion_lm", "decoding_steps": 2001}, "option decoding_steps: 2001 must lie between 1 and"),
    ],
)
def test_values_that_no_run_can_have_are_refused_by_name(values: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        check(with_values(RunConfig(), values))


@pytest.mark.parametrize("name", BOTH)
def test_defaults_of_another_method_do_not_become_theirs(name: str) -> None:
    """Difformer's noise factor, anchor loss and norm are its own; what a preset chose goes on."""
    chosen: Any = presets.get("tiny").config_for(name).method
    assert (chosen.diffusion.noise_factor, chosen.objective.token_loss) == (1.0, "rounding")
    assert (chosen.latent.embedding_norm, chosen.network.activation) == ("none", "gelu")
    assert (chosen.network.model_dim, chosen.network.dropout) == (96, 0.0)


@pytest.mark.parametrize("name", BOTH)
def test_the_released_recipe_is_one_that_a_run_can_have(name: str) -> None:
    options = import_module(f"core.methods.{name}_options")
    recipes = [value for key, value in vars(options).items() if key.endswith("AS_RELEASED")]
    assert recipes
    for recipe in recipes:
        check(with_values(RunConfig(), {"method": name, **recipe}))


def test_a_method_that_draws_t_uniformly_does_not_adapt() -> None:
    assert method("diffuseq").adapts and not method("diffuseq", time_sampler="uniform").adapts
    assert not method("diffusion_lm").adapts and method("diffusion_lm", time_sampler="lossaware").adapts


def test_the_norm_of_the_absorbing_state_is_one_element() -> None:
    made = method("diffuseq", absorbing=True)
    network, batch = made.build(40, 25), sentences([3], [4])
    term = made.loss(network, batch, made.draw(network, batch, 1, 0)).terms["absorbing"]
    assert isinstance(term, Term) and int(term.count()) == 1
