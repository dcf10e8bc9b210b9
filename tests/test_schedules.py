"""Schedules, the forward process and the spaced posterior, against recorded numbers and closed forms."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.checks import LEAST_PRESERVING
from core.diffusion.process import ForwardProcess, Visited
from core.diffusion.samplers import posterior
from core.diffusion.schedules import SCHEDULES, alpha_bars, betas, variance_preserving
from core.diffusion.spacing import SPACINGS
from core.errors import UserError
from core.sections import DecodingConfig, DiffusionConfig

RECORDED = json.loads((Path(__file__).parent / "golden" / "schedules.json").read_text())


@pytest.mark.parametrize("key", RECORDED["schedules"])
def test_recorded_schedules(key: str) -> None:
    schedule, factor = key.split("|vp_factor=")
    recorded = RECORDED["schedules"][key]
    np.testing.assert_allclose(betas(schedule, 2000, float(factor))[recorded["t"]], recorded["beta"], rtol=1e-9)
    np.testing.assert_allclose(
        alpha_bars(schedule, 2000, float(factor))[recorded["t"]], recorded["alpha_bar"], rtol=1e-9
    )


@pytest.mark.parametrize("steps", RECORDED["spaced_sampler_sqrt"])
def test_recorded_spaced_sampler(steps: str) -> None:
    recorded = RECORDED["spaced_sampler_sqrt"][steps]
    decoding = DecodingConfig(decoding_steps=int(steps), early_stop=0)
    visited = Visited.build(DiffusionConfig(), decoding)
    assert list(visited.t) == recorded["timesteps"]
    from_z_0_hat, from_z_k, sigma = posterior(visited.signal, visited.noise)
    np.testing.assert_allclose(from_z_0_hat, recorded["posterior_mean_coef_z0"], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(from_z_k, recorded["posterior_mean_coef_zt"], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(2 * np.log(sigma), recorded["posterior_log_variance_clipped"], rtol=1e-9)


@pytest.mark.parametrize("schedule", SCHEDULES)
@given(steps=st.integers(2, 300), factor=st.floats(1.0, 8.0))
def test_alpha_bar_falls_within_0_and_1(schedule: str, steps: int, factor: float) -> None:
    alpha_bar = alpha_bars(schedule, steps, factor)
    assert np.all(np.diff(alpha_bar) < 0)
    assert 0 <= alpha_bar[-1] < alpha_bar[0] <= 1


@given(alpha_bar=st.floats(1e-6, 1 - 1e-6), factor=st.floats(1.0, 8.0))
def test_variance_preserving_form_has_the_snr_of_the_factor(alpha_bar: float, factor: float) -> None:
    changed = float(variance_preserving(np.array(alpha_bar), factor))
    assert changed / (1 - changed) == pytest.approx(alpha_bar / (1 - alpha_bar) / factor**2, rel=1e-6)


def test_forward_process_has_the_variance_it_says() -> None:
    plain = ForwardProcess.build(DiffusionConfig(noise_factor=3.0))
    preserving = ForwardProcess.build(DiffusionConfig(noise_factor=3.0, variance_preserving=True))
    slip = ForwardProcess.build(DiffusionConfig(noise_factor=3.0, variance_preserving=True), released_slip=True)
    torch.testing.assert_close(preserving.signal**2 + preserving.noise**2, torch.ones(2000))
    torch.testing.assert_close(slip.noise, 3 * preserving.noise)
    torch.testing.assert_close(plain.signal**2 + plain.noise**2 / 9, torch.ones(2000))


@given(st.lists(st.floats(0.01, 0.99), min_size=2, max_size=10, unique=True), st.floats(0.5, 8.0))
def test_posterior_agrees_with_the_product_of_gaussians(values: list[float], factor: float) -> None:
    alpha_bar = np.array(sorted(values, reverse=True))
    if np.min(-np.diff(alpha_bar)) < 1e-6:
        return
    a, b, sigma = posterior(np.sqrt(alpha_bar), np.sqrt(1 - alpha_bar) * factor)
    k = len(alpha_bar) - 1
    alpha, previous = alpha_bar[k] / alpha_bar[k - 1], alpha_bar[k - 1]
    precision = alpha / (1 - alpha) + 1 / (1 - previous)
    assert sigma[k] ** 2 == pytest.approx(factor**2 / precision, rel=1e-6)
    assert a[k] == pytest.approx(np.sqrt(previous) / (1 - previous) / precision, rel=1e-6)
    assert b[k] == pytest.approx(np.sqrt(alpha) / (1 - alpha) / precision, rel=1e-6)


@given(st.integers(2, 2000))
def test_evenly_spaced_steps_run_from_first_to_last(K: int) -> None:
    steps = SPACINGS["uniform"](np.zeros(2000), K)
    assert steps[0] == 0 and steps[-1] == 1999 and len(set(steps)) == K


@pytest.mark.parametrize(("steps", "early_stop"), [(0, 0), (2001, 0), (20, 20), (20, -1)])
def test_impossible_decodings_are_refused(steps: int, early_stop: int) -> None:
    with pytest.raises(UserError, match=r"option (decoding_steps|early_stop)"):
        Visited.build(DiffusionConfig(), DecodingConfig(decoding_steps=steps, early_stop=early_stop))


@given(
    st.integers(2, 300), st.integers(300, 2000), st.sampled_from(sorted(SPACINGS)), st.sampled_from(sorted(SCHEDULES))
)
def test_steps_are_distinct_and_rise_from_first_to_last(K: int, T: int, spacing: str, schedule: str) -> None:
    alpha_bar = alpha_bars(schedule, T)
    steps = SPACINGS[spacing](np.log(alpha_bar / (1 - alpha_bar)), K)
    assert steps[0] == 0 and steps[-1] == T - 1 and len(steps) == K
    assert all(a < b for a, b in pairwise(steps))
    assert SPACINGS[spacing](np.log(alpha_bar / (1 - alpha_bar)), 1) == (T - 1,)


def test_steps_even_in_log_snr() -> None:
    """The EDM levels have no last step whose beta is cut, so the steps can be as even as T allows."""
    decoding = DecodingConfig(decoding_steps=12, spacing="log_snr", decoding_schedule="edm")
    visited = Visited.build(DiffusionConfig(), decoding)
    gaps = np.diff(2 * np.log(visited.signal / visited.noise))
    np.testing.assert_allclose(gaps, gaps.mean(), rtol=0.02)
    even = Visited.build(DiffusionConfig(), DecodingConfig(decoding_steps=12, decoding_schedule="edm"))
    assert np.ptp(np.diff(2 * np.log(even.signal / even.noise))) > 10 * np.ptp(gaps)


def test_quadratic_and_named_steps() -> None:
    decoding = DecodingConfig(decoding_steps=5, early_stop=0, spacing="quadratic")
    assert Visited.build(DiffusionConfig(), decoding).t == (0, 125, 500, 1124, 1999)
    named = DecodingConfig(decoding_steps=3, early_stop=0, visited_steps="4, 700,1999")
    visited = Visited.build(DiffusionConfig(), named)
    assert visited.t == visited.told == (4, 700, 1999)
    whole = Visited.build(DiffusionConfig(), DecodingConfig(decoding_steps=2000))
    np.testing.assert_array_equal(visited.noise, whole.noise[[4, 700, 1999]])


@pytest.mark.parametrize("steps", ["4,4,9", "9,4,1", "a,b,c", "", "1,2", "-1,2,3", "1,2,2000", "1,,2"])
def test_named_steps_that_cannot_be_visited_are_refused(steps: str) -> None:
    with pytest.raises(UserError, match="option visited_steps: "):
        Visited.build(DiffusionConfig(), DecodingConfig(decoding_steps=3, early_stop=0, visited_steps=steps))


def test_cedi_tells_the_network_times_near_the_end() -> None:
    decoding = DecodingConfig(decoding_steps=10, early_stop=0, sampler="cedi", cedi_end=0.5)
    visited = Visited.build(DiffusionConfig(diffusion_steps=201), decoding)
    assert visited.told == (110, 120, 130, 140, 150, 160, 170, 180, 190, 200)
    assert visited.t == Visited.build(DiffusionConfig(diffusion_steps=201), DecodingConfig(decoding_steps=10)).t
    whole = Visited.build(DiffusionConfig(diffusion_steps=201), DecodingConfig(decoding_steps=201))
    np.testing.assert_array_equal(visited.told_noise, whole.noise[list(map(int, visited.told))])
    np.testing.assert_array_equal(visited.told_signal, whole.signal[list(map(int, visited.told))])


def test_a_variance_preserving_form_without_noise_is_refused() -> None:
    decoding = DecodingConfig(decoding_noise_factor=0.0, decoding_variance_preserving=True)
    with pytest.raises(UserError, match=r"option decoding_noise_factor: 0\.0 leaves no noise"):
        Visited.build(DiffusionConfig(), decoding)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_least_noise_of_that_form_is_a_number(schedule: str) -> None:
    decoding = DecodingConfig(
        decoding_steps=2000, decoding_noise_factor=LEAST_PRESERVING, decoding_variance_preserving=True
    )
    visited = Visited.build(DiffusionConfig(schedule=schedule), decoding)  # type: ignore[arg-type]
    assert np.all(visited.noise > 0)
    assert all(np.all(np.isfinite(values)) for values in posterior(visited.signal, visited.noise))
