"""Samplers on data whose denoiser is known in closed form, and how t is drawn."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from core.diffusion import noise_times
from core.diffusion.draws import training_draws
from core.diffusion.process import Visited
from core.diffusion.samplers import SAMPLERS, Denoise, Noise, posterior, sample, seeded_noise
from core.diffusion.spacing import SPACINGS
from core.diffusion.time_samplers import TIME_SAMPLERS, stratified
from core.randomness import generator
from core.sections import DecodingConfig, DiffusionConfig

# Samplers. Each dimension of the data is N(MEAN, STD^2).

MEAN, STD = 0.7, 0.6
FORMS = {
    "F1": DecodingConfig(),
    "F4": DecodingConfig(decoding_noise_factor=4.0),
    "F4, variance-preserving": DecodingConfig(decoding_noise_factor=4.0, decoding_variance_preserving=True),
    "own schedule": DecodingConfig(decoding_noise_factor=2.0, decoding_schedule="edm"),
}
CONTINUOUS = {f"{name}, t continuous": decoding for name, decoding in FORMS.items()}
"""DINOISER's process: t is the noise."""
EVERY = [*FORMS, *CONTINUOUS]
WITHOUT_NOISE = ("ddim", "dpm_solver")
CPU = torch.device("cpu")


def visited(form: str, steps: int, schedule: str = "sqrt", **options: Any) -> Visited:
    """The steps of a sampler with a noise factor and form."""
    decoding = replace((FORMS | CONTINUOUS)[form], decoding_steps=steps, early_stop=0, **options)
    if form in CONTINUOUS:
        return noise_times.visited(decoding, 0.001)
    return Visited.build(DiffusionConfig(schedule=schedule), decoding)  # type: ignore[arg-type]


def exact(steps: Visited) -> Denoise:
    """E[z_0 | z_t]: the product of N(MEAN, STD^2) with N(z_t / signal, (noise / signal)^2)."""
    levels = zip(steps.told_signal.tolist(), steps.told_noise.tolist(), strict=True)
    at = dict(zip(steps.told, levels, strict=True))

    def denoise(z_t: Tensor, t: float, z_0_prev: Tensor | None) -> Tensor:
        signal, noise = at[t]
        return (MEAN / STD**2 + signal * z_t / noise**2) / (1 / STD**2 + signal**2 / noise**2)

    return denoise


def steps_noise() -> Noise:
    return seeded_noise(generator(CPU, 1, "steps"))


def sampled(name: str, steps: Visited, noise: Noise, count: int = 5_000) -> Tensor:
    """z_0_hat of the last call for `count` sentences of one dimension, from pure noise."""
    start = seeded_noise(generator(CPU, 1, "start"))(torch.empty(count, 1, 1, dtype=torch.float64))
    return sample(SAMPLERS[name](steps), exact(steps), steps, start * steps.start, noise, 0)


def spread(steps: Visited) -> float:
    """Standard deviation of E[z_0 | z_t] over z_t ~ q at the step with the least noise."""
    return STD**2 / math.sqrt(STD**2 + (steps.noise[0] / steps.signal[0]) ** 2)


def refused(like: Tensor) -> Tensor:
    raise AssertionError("no noise is drawn")


@pytest.mark.parametrize(
    ("form", "schedule"),
    [*((form, schedule) for form in FORMS for schedule in ("sqrt", "cosine")), *((form, "") for form in CONTINUOUS)],
)
@pytest.mark.parametrize("name", ["ancestral", *WITHOUT_NOISE])
def test_with_many_steps_the_moments_are_those_of_the_data(name: str, form: str, schedule: str) -> None:
    steps = visited(form, 2000, schedule)
    found = sampled(name, steps, refused if name in WITHOUT_NOISE else steps_noise())
    assert float(found.mean()) == pytest.approx(MEAN, abs=0.015)
    assert float(found.std()) == pytest.approx(spread(steps), rel=0.04)


@pytest.mark.parametrize("spacing", ["log_snr", "quadratic"])
@pytest.mark.parametrize("form", EVERY)
@pytest.mark.parametrize("name", ["ancestral", "ddim", "half", "dpm_solver"])
def test_so_they_are_wherever_the_steps_lie(name: str, form: str, spacing: str) -> None:
    eta = 0.5 if name == "half" else 0.0
    steps = visited(form, 400, spacing=spacing, eta=eta)
    found = sampled("ddim" if name == "half" else name, steps, steps_noise())
    assert float(found.mean()) == pytest.approx(MEAN, abs=0.02)
    assert float(found.std()) == pytest.approx(spread(steps), rel=0.05)


def test_more_steps_come_closer_to_the_data() -> None:
    for name in ("ancestral", *WITHOUT_NOISE):
        few, many = (
            abs(float(sampled(name, s, steps_noise()).std()) / spread(s) - 1)
            for s in (visited("F1", k) for k in (10, 400))
        )
        assert many < few / 3, name


def test_ancestral_and_ddim_are_what_they_were_to_the_bit() -> None:
    steps, z_k, z_0, eps = visited("F4", 20), torch.randn(3, 4, 2), torch.randn(3, 4, 2), torch.randn(3, 4, 2)
    of_z_0, of_z_k, sigma = (values.tolist() for values in posterior(steps.signal, steps.noise))
    signal, noise = steps.signal.tolist(), steps.noise.tolist()
    for k in range(1, 20):
        drawn = SAMPLERS["ancestral"](steps)(k, z_k, z_0, lambda like: eps)
        assert torch.equal(drawn, of_z_0[k] * z_0 + of_z_k[k] * z_k + sigma[k] * eps)
        before = signal[k - 1] * z_0 + noise[k - 1] * ((z_k - signal[k] * z_0) / noise[k])
        assert torch.equal(SAMPLERS["ddim"](steps)(k, z_k, z_0, refused), before)


@pytest.mark.parametrize("form", EVERY)
def test_a_ddim_step_lies_on_the_line_through_the_prediction(form: str) -> None:
    """z_{k-1} has the noise of z_k, and where z_0_hat is right it is q(z_{k-1} | z_0) with that noise."""
    steps = visited(form, 20)
    step, z_0, eps = SAMPLERS["ddim"](steps), torch.randn(3, 4, 2), torch.randn(3, 4, 2)
    for k in range(1, 20):
        z_k, z_before = (float(steps.signal[j]) * z_0 + float(steps.noise[j]) * eps for j in (k, k - 1))
        torch.testing.assert_close(step(k, z_k, z_0, refused), z_before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("form", EVERY)
@pytest.mark.parametrize("eta", [0.3, 1.0, "ancestral"])
def test_a_step_with_noise_from_q_leads_to_q(eta: float | str, form: str) -> None:
    """Where z_0_hat is right, z_{k-1} has the moments of q(z_{k-1} | z_0)."""
    name, share = ("ddim", eta) if isinstance(eta, float) else (eta, 0.0)
    steps = visited(form, 20, eta=share)
    step, z_0, noise = SAMPLERS[name](steps), torch.full((40_000, 1, 1), MEAN), steps_noise()
    for k in (1, 2, 10, 19):
        z_k = float(steps.signal[k]) * z_0 + float(steps.noise[k]) * torch.randn(z_0.shape)
        found = step(k, z_k, z_0, noise)
        assert float(found.mean()) == pytest.approx(steps.signal[k - 1] * MEAN, abs=5 * steps.noise[k - 1] / 200)
        assert float(found.std()) == pytest.approx(steps.noise[k - 1], rel=0.02)


@pytest.mark.parametrize("spacing", ["uniform", "log_snr"])
@pytest.mark.parametrize("form", EVERY)
def test_ddim_at_eta_1_is_ancestral_sampling(form: str, spacing: str) -> None:
    steps = visited(form, 20, spacing=spacing, eta=1.0)
    torch.testing.assert_close(sampled("ddim", steps, steps_noise()), sampled("ancestral", steps, steps_noise()))


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("form", EVERY)
def test_steps_that_are_named_are_those_of_the_spacing_that_they_list(form: str, spacing: str) -> None:
    steps = visited(form, 20, spacing=spacing)
    named = visited(form, 20, visited_steps=",".join(map(str, steps.t)))
    assert named.t == steps.t == tuple(sorted(set(steps.t))) and named.told == steps.told and named.start == steps.start
    np.testing.assert_allclose(named.signal, steps.signal, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(named.noise, steps.noise, rtol=1e-6)


@pytest.mark.parametrize("form", EVERY)
@pytest.mark.parametrize("name", SAMPLERS)
def test_early_stop_ends_with_the_prediction_of_a_call_that_all_steps_make_too(name: str, form: str) -> None:
    steps, start = visited(form, 20, sampler=name), torch.randn(4, 1, 1, dtype=torch.float64)
    seen: dict[int, list[Tensor]] = {}
    for early_stop in (0, 5, 19):
        calls = seen.setdefault(early_stop, [])
        found = sample(
            SAMPLERS[name](steps),
            exact(steps),
            steps,
            start * steps.start,
            steps_noise(),
            early_stop,
            lambda *, t, z_t, z_0_hat: calls.append(z_0_hat),  # noqa: B023
        )
        assert len(calls) == 20 - early_stop
        assert torch.equal(found, calls[-1]) and torch.equal(found, seen[0][19 - early_stop])


# DPM-Solver++


def even(K: int, factor: float) -> Visited:
    """Steps even in log-SNR, from 0.05 to 20 times as much noise as signal, with a noise factor."""
    ratio = np.geomspace(0.05, 20.0, K)
    signal = 1 / np.sqrt(1 + ratio**2)
    noise, t = signal * ratio * factor, tuple(range(K))
    return Visited(t, signal, noise, factor, t, signal, noise)


def off(name: str, K: int, factor: float) -> float:
    """How far a sampler ends from the exact solution of the flow, z_k ~ q(z_k) keeping its place in standard
    deviations, for a start of one standard deviation."""
    steps = even(K, factor)
    std = np.sqrt((steps.signal * STD) ** 2 + steps.noise**2)
    start = torch.full((1, 1, 1), steps.signal[-1] * MEAN + std[-1], dtype=torch.float64)
    seen: list[Tensor] = []
    sample(SAMPLERS[name](steps), exact(steps), steps, start, refused, 0, lambda *, t, z_t, z_0_hat: seen.append(z_t))
    return abs(float(seen[-1]) - float(steps.signal[0] * MEAN + std[0]))


@pytest.mark.parametrize("factor", [1.0, 4.0])
def test_dpm_solver_is_of_second_order_where_ddim_is_of_first(factor: float) -> None:
    assert off("ddim", 80, factor) / off("ddim", 160, factor) == pytest.approx(2, rel=0.1)
    assert off("dpm_solver", 80, factor) / off("dpm_solver", 160, factor) > 3.4
    assert off("dpm_solver", 20, factor) < off("ddim", 20, factor) / 5


def test_the_first_step_of_dpm_solver_is_ddims_also_from_pure_noise() -> None:
    plain = even(5, 1.0)
    signal, noise = np.append(plain.signal[:-1], 0.0), np.append(plain.noise[:-1], 1.0)
    steps = replace(plain, signal=signal, noise=noise)
    step, z, z_0 = SAMPLERS["dpm_solver"](steps), torch.randn(2, 3, 1), torch.randn(2, 3, 1)
    torch.testing.assert_close(step(4, z, z_0, refused), SAMPLERS["ddim"](steps)(4, z, z_0, refused))
    after = step(3, z, z_0 + 1, refused)
    assert bool(torch.isfinite(after).all()), "what came before lies infinitely far in log-SNR, and has no weight"
    torch.testing.assert_close(after, SAMPLERS["ddim"](steps)(3, z, z_0 + 1, refused))


# CEDI


@pytest.mark.parametrize("form", EVERY)
def test_cedi_that_tells_the_visited_steps_is_ddim(form: str) -> None:
    plain = visited(form, 20)
    assert torch.equal(sampled("cedi", plain, refused), sampled("ddim", plain, refused))


@pytest.mark.parametrize("form", EVERY)
def test_moments_of_cedi_are_those_of_its_affine_steps(form: str) -> None:
    """E[z_0 | z] as told is affine in z, hence all that follows: z_k = a_k + b_k z_T, z_0_hat = c + d z_T."""
    steps = visited(form, 20, sampler="cedi", cedi_end=0.9)
    a, b, c, d = 0.0, 1.0, 0.0, 0.0
    for k in range(19, -1, -1):
        gain = STD**2 * steps.told_signal[k] / (STD**2 * steps.told_signal[k] ** 2 + steps.told_noise[k] ** 2)
        c, d = MEAN + gain * (a - steps.told_signal[k] * MEAN), gain * b
        if k > 0:
            ratio = steps.noise[k - 1] / steps.told_noise[k]
            rest = steps.signal[k - 1] - ratio * steps.told_signal[k]
            a, b = rest * c + ratio * a, rest * d + ratio * b
    found = sampled("cedi", steps, refused)
    assert float(found.mean()) == pytest.approx(c, abs=4 * abs(d) * steps.start / math.sqrt(5_000))
    assert float(found.std()) == pytest.approx(abs(d) * steps.start, rel=0.03)
    assert abs(d) * steps.start < spread(steps), "it goes less by its noise than a sampler of the data does"


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
