"""Samplers on data whose denoiser is known in closed form, and how t is drawn."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from core.diffusion.draws import training_draws
from core.diffusion.process import Visited
from core.diffusion.samplers import SAMPLERS, Denoise, Noise, sample, seeded_noise
from core.diffusion.time_samplers import TIME_SAMPLERS, stratified
from core.randomness import generator
from core.sections import DecodingConfig, DiffusionConfig

# Samplers. Each dimension of the data is N(MEAN, STD^2).

MEAN, STD = 0.7, 0.6
FORMS = {"F1": (1.0, False), "F4": (4.0, False), "F4, variance-preserving": (4.0, True)}


def visited(form: str, steps: int, schedule: str = "sqrt") -> Visited:
    """The steps of a sampler with a noise factor and form."""
    factor, preserving = FORMS[form]
    decoding = DecodingConfig(
        decoding_steps=steps, early_stop=0, decoding_noise_factor=factor, decoding_variance_preserving=preserving
    )
    return Visited.build(DiffusionConfig(schedule=schedule), decoding)  # type: ignore[arg-type]


def exact(steps: Visited) -> Denoise:
    """E[z_0 | z_t]: the product of N(MEAN, STD^2) with N(z_t / signal, (noise / signal)^2)."""
    at = dict(zip(steps.t, zip(steps.signal.tolist(), steps.noise.tolist(), strict=True), strict=True))

    def denoise(z_t: Tensor, t: int, z_0_prev: Tensor | None) -> Tensor:
        signal, noise = at[t]
        return (MEAN / STD**2 + signal * z_t / noise**2) / (1 / STD**2 + signal**2 / noise**2)

    return denoise


def sampled(name: str, steps: Visited, noise: Noise, count: int = 5_000) -> Tensor:
    """z_0_hat of the last call for `count` sentences of one dimension, from pure noise."""
    start = seeded_noise(generator(torch.device("cpu"), 1, "start"))(torch.empty(count, 1, 1, dtype=torch.float64))
    return sample(SAMPLERS[name], exact(steps), steps, start * steps.start, noise, 0)


def spread(steps: Visited) -> float:
    """Standard deviation of E[z_0 | z_t] over z_t ~ q at the step with the least noise."""
    return STD**2 / math.sqrt(STD**2 + (steps.noise[0] / steps.signal[0]) ** 2)


def refused(like: Tensor) -> Tensor:
    raise AssertionError("no noise is drawn")


@pytest.mark.parametrize("schedule", ["sqrt", "cosine"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", SAMPLERS)
def test_with_many_steps_the_moments_are_those_of_the_data(name: str, form: str, schedule: str) -> None:
    steps = visited(form, 2000, schedule)
    noise = refused if name == "ddim" else seeded_noise(generator(torch.device("cpu"), 1, "steps"))
    found = sampled(name, steps, noise)
    assert float(found.mean()) == pytest.approx(MEAN, abs=0.015)
    assert float(found.std()) == pytest.approx(spread(steps), rel=0.04)


def test_more_steps_come_closer_to_the_data() -> None:
    for name in SAMPLERS:
        noise = seeded_noise(generator(torch.device("cpu"), 1, "steps"))
        few, many = (
            abs(float(sampled(name, s, noise).std()) / spread(s) - 1) for s in (visited("F1", k) for k in (10, 400))
        )
        assert many < few / 3, name


@pytest.mark.parametrize("form", FORMS)
def test_a_ddim_step_lies_on_the_line_through_the_prediction(form: str) -> None:
    """z_{k-1} has the noise of z_k, and where z_0_hat is right it is q(z_{k-1} | z_0) with that noise."""
    steps = visited(form, 20)
    step, z_0, eps = SAMPLERS["ddim"](steps), torch.randn(3, 4, 2), torch.randn(3, 4, 2)
    for k in range(1, 20):
        z_k, z_before = (float(steps.signal[j]) * z_0 + float(steps.noise[j]) * eps for j in (k, k - 1))
        torch.testing.assert_close(step(k, z_k, z_0, refused), z_before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_an_ancestral_step_from_q_leads_to_q(form: str) -> None:
    """Where z_0_hat is right, z_{k-1} has the moments of q(z_{k-1} | z_0)."""
    steps, noise = visited(form, 20), seeded_noise(generator(torch.device("cpu"), 1, "steps"))
    step, z_0 = SAMPLERS["ancestral"](steps), torch.full((40_000, 1, 1), MEAN)
    for k in (1, 2, 10, 19):
        z_k = float(steps.signal[k]) * z_0 + float(steps.noise[k]) * torch.randn(z_0.shape)
        found = step(k, z_k, z_0, noise)
        assert float(found.mean()) == pytest.approx(steps.signal[k - 1] * MEAN, abs=5 * steps.noise[k - 1] / 200)
        assert float(found.std()) == pytest.approx(steps.noise[k - 1], rel=0.02)


# Times


def test_uniform_draws_are_what_they_were_to_the_bit() -> None:
    draws = training_draws(3, 17, (5, 4, 2), 2000, torch.device("cpu"), TIME_SAMPLERS["uniform"])
    plain = generator(torch.device("cpu"), 3, "step", 17)
    assert torch.equal(draws.t, torch.randint(0, 2000, (5,), generator=plain))
    assert draws.coin == bool(torch.rand((), generator=plain) < 0.5)
    assert torch.equal(draws.eps, torch.randn((5, 4, 2), generator=plain))
    default = training_draws(3, 17, (5, 4, 2), 2000, torch.device("cpu"))
    assert torch.equal(default.t, draws.t) and torch.equal(default.eps, draws.eps)


@pytest.mark.parametrize(("T", "count"), [(2000, 64), (2000, 1), (10, 7), (3, 8)])
def test_stratified_draws_one_t_from_each_part(T: int, count: int) -> None:
    orders = set()
    for step in range(50):
        drawn = stratified(T, count, generator(torch.device("cpu"), step)).tolist()
        orders.add(tuple(np.argsort(drawn, kind="stable")))
        assert all(0 <= t < T for t in drawn) and len(drawn) == count
        for part, t in enumerate(sorted(drawn)):
            assert math.floor(part * T / count) <= t < (part + 1) * T / count
    assert len(orders) > 1 or count == 1, "which sentence gets which part is drawn"


@pytest.mark.parametrize("name", TIME_SAMPLERS)
def test_each_t_is_uniform(name: str) -> None:
    draws, T = 6000, 10
    every = torch.stack([TIME_SAMPLERS[name](T, 4, generator(torch.device("cpu"), i)) for i in range(draws)])
    for sentence in range(4):
        counts = torch.bincount(every[:, sentence], minlength=T)
        assert len(counts) == T and float((counts - draws / T).abs().max()) < 5 * math.sqrt(draws / T)


def test_no_t_reaches_the_number_of_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    highest = torch.full((8,), 1 - 2.0**-53, dtype=torch.float64)
    monkeypatch.setattr(torch, "rand", lambda *size, **options: highest)
    assert int(stratified(2000, 8, torch.Generator()).max()) == 1999
