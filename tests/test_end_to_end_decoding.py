"""Decoding of diffusion over embeddings learned end to end: samplers, moments of what is written, canvas."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from end_to_end import BOTH, method, sentences
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from core.candidates import Candidates
from core.diffusion.end_to_end_sections import ProcessConfig, WalkConfig
from core.diffusion.latent_denoiser import LatentDenoiser, Layout
from core.diffusion.process import Visited
from core.diffusion.samplers import ancestral_large, one_down, seeded_noise
from core.diffusion.schedules import alpha_bars
from core.diffusion.walks import Plan, Walker, one_below, truncated
from core.sections import DecodingConfig, DiffusionConfig
from core.text.tokenizer import BOS, EOS, PAD


def test_the_larger_variance_is_beta_and_the_mean_is_the_posteriors() -> None:
    process, walk = ProcessConfig(diffusion_steps=50), WalkConfig(decoding_steps=50)
    visited = Visited.build(process.gaussian(), DecodingConfig.of(walk))
    step, abar = ancestral_large(visited), np.append(1.0, alpha_bars("sqrt", 50))
    x, x_0, z = torch.randn(3, 4, 5, 6)
    for k in range(1, 50):
        beta = 1 - abar[k + 1] / abar[k]
        c_0 = beta * math.sqrt(abar[k]) / (1 - abar[k + 1])
        c_k = (1 - abar[k]) * math.sqrt(1 - beta) / (1 - abar[k + 1])
        torch.testing.assert_close(step(k, x, x_0, lambda like: z), c_0 * x_0 + c_k * x + math.sqrt(beta) * z)


@given(st.integers(2, 60), st.data())
def test_ddim_as_released_moves_by_one_step_alone(T: int, data: st.DataObject) -> None:
    steps = data.draw(st.integers(1, T))
    gap = T // steps
    visited = one_below(ProcessConfig(diffusion_steps=T), gap)
    step, t = one_down(visited), [int(t) for t in visited.t]
    assert list(reversed(t)) == list(range(T - 1, -1, -gap)) and visited.told == visited.t and visited.start == 1.0
    abar = np.append(1.0, alpha_bars("sqrt", T))
    x_0, eps = torch.randn(2, 3, dtype=torch.float64)
    for k, at in enumerate(t):
        x = math.sqrt(abar[at + 1]) * x_0 + math.sqrt(1 - abar[at + 1]) * eps
        wanted = math.sqrt(abar[at]) * x_0 + math.sqrt(1 - abar[at]) * eps
        torch.testing.assert_close(step(k, x, x_0, lambda like: like), wanted)


def test_noise_above_a_magnitude_is_drawn_again() -> None:
    source = torch.Generator().manual_seed(1)
    noise = truncated(lambda like: torch.randn(like.shape, generator=source), 1.0)
    found = noise(torch.empty(20_000))
    assert float(found.abs().max()) <= 1.0
    assert float(found.var()) == pytest.approx(0.2911, abs=0.01), "of a normal between -1 and 1"


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize(
    "values",
    [
        {},
        {"sampler": "ddim"},
        {"sampler": "dpm_solver", "spacing": "log_snr"},
        {"sampler": "ddim", "released_ddim": True, "clamping": False},
        {"noise_candidates": 3, "top_p": 2.0, "clamp_step": 4},
    ],
)
def test_a_batch_is_decoded_by_every_sampler(name: str, values: dict[str, Any]) -> None:
    made = method(name, target_length=9, diffusion_steps=40, decoding_steps=10, **values)
    network, decoding = made.build(40, 25).eval(), made.options.decoding
    batch, steps = sentences([3, 11, 6], [5, 4, 8]), list[tuple[float, Candidates]]()
    found = made.decode(network, batch, decoding, 1, lambda t, now: steps.append((t, now)))
    again = made.decode(network, batch, decoding, 1)
    assert torch.equal(found.tokens, again.tokens) and torch.equal(found.score, again.score)
    assert len(found.tokens) == 3 * made.count(decoding) == 3 * values.get("noise_candidates", 1)
    assert len(steps) == made.calls(decoding) == 10 and steps[0][0] == 39
    assert bool((found.score <= 0).all()) and bool(found.mask[:, 0].all()) and found.tokens.shape[1] <= 9
    if not values:
        assert steps[-1][0] == 0


def test_what_is_written_ends_at_the_first_eos_or_pad() -> None:
    made = method("diffuseq", target_length=6)
    network = made.build(40, 25).eval()
    batch = sentences([3, 5], [2, 2])
    layout = network.layout(batch.source, None)
    wanted = [[BOS, 8, EOS, 9, PAD, PAD], [BOS, 7, 6, PAD, 5, EOS]]
    ids = layout.ids.clone()
    for row, tokens in enumerate(wanted):
        ids[row, layout.written[row]] = torch.tensor(tokens)
    with torch.no_grad():
        network.embedding.table.copy_(torch.nn.functional.normalize(torch.randn(40, 8)))
        found = Walker(network, layout, None).read_out(30.0 * network.embedding(ids))
    assert found.ids() == [[BOS, 8, EOS], [BOS, 7, 6]]


class Oracle:
    """Stands for a network that knows x_0; notes what it is told and shown."""

    def __init__(self, network: LatentDenoiser, x_0: Tensor) -> None:
        self.network, self.x_0 = network, x_0
        self.told, self.shown = list[float](), list[Tensor]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.network, name)

    def denoise(self, x_t: Tensor, time: Tensor, layout: Layout, memory: Any, last: Tensor | None = None) -> Tensor:
        self.told.append(float(time))
        self.shown.append(x_t)
        return self.x_0


@torch.no_grad()
def test_the_source_is_put_back_clean_and_x_t_has_the_level_of_its_time() -> None:
    made = method("diffuseq", target_length=20, diffusion_steps=100, decoding_steps=10)
    network = made.build(40, 25).eval()
    layout = network.layout(sentences([9] * 300, [3] * 300).source, None)
    clean = network.embedding(layout.ids)
    x_0 = torch.zeros_like(clean)
    knowing: Any = Oracle(network, x_0)
    for values in ({}, {"variance": "small"}, {"sampler": "ddim"}):
        decoding = dataclasses.replace(made.options.decoding, clamping=False, **values)
        plan = Plan.build(made.options.diffusion, decoding)
        noise = seeded_noise(torch.Generator().manual_seed(1))
        knowing.told, knowing.shown = [], []
        last = Walker(knowing, layout, None).walk(plan, decoding, noise(clean), noise)
        visited = Visited.build(DiffusionConfig(diffusion_steps=100), DecodingConfig.of(decoding))
        assert knowing.told == [t * 10.0 for t in reversed(visited.t)]
        for shown, level in zip(knowing.shown, reversed(visited.noise), strict=True):
            assert torch.equal(shown[~layout.written], clean[~layout.written])
            if values:
                assert float(shown[layout.written].std()) == pytest.approx(level, rel=0.03)
        assert torch.equal(last[layout.written], x_0[layout.written])


@torch.no_grad()
def test_with_the_slip_noise_is_left_at_the_end() -> None:
    made = method(
        "diffuseq", diffusion_steps=100, decoding_steps=10, sampler="ddim", released_ddim=True, clamping=False
    )
    network = made.build(40, 25).eval()
    layout = network.layout(sentences([9] * 50, [3] * 50).source, None)
    x_0 = torch.zeros(*layout.ids.shape, 8)
    knowing: Any = Oracle(network, x_0)
    noise = torch.randn(x_0.shape)
    plan = Plan.build(made.options.diffusion, made.options.decoding)
    last = Walker(knowing, layout, None).walk(plan, made.options.decoding, noise, lambda like: like)
    abar = np.append(1.0, alpha_bars("sqrt", 100))
    left = math.prod(math.sqrt((1 - abar[int(t)]) / (1 - abar[int(t) + 1])) for t in plan.visited.t)
    assert float(last[layout.written].std()) == pytest.approx(left, rel=0.05) and left > 0.5


FORMS: dict[str, dict[str, Any]] = {
    "F4": {"decoding_noise_factor": 4.0},
    "F4, variance-preserving": {"decoding_noise_factor": 4.0, "decoding_variance_preserving": True},
    "own schedule": {"decoding_schedule": "cosine"},
}


class Posterior(Oracle):
    """Stands for a network that knows x_0 to be N(0.7, 0.6^2) in each dimension, and the levels that it is told."""

    def __init__(self, network: LatentDenoiser, visited: Visited) -> None:
        super().__init__(network, torch.empty(0))
        levels = zip(visited.told_signal.tolist(), visited.told_noise.tolist(), strict=True)
        self.levels = dict(zip(visited.told, levels, strict=True))

    def denoise(self, x_t: Tensor, time: Tensor, layout: Layout, memory: Any, last: Tensor | None = None) -> Tensor:
        signal, noise = self.levels[round(float(time) / self.network.time_scale)]
        return (0.7 / 0.36 + signal * x_t / noise**2) / (1 / 0.36 + signal**2 / noise**2)


@torch.no_grad()
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("sampler", ["ancestral", "ancestral, large", "ddim", "dpm_solver"])
def test_what_is_written_has_the_moments_of_gaussian_data(sampler: str, form: str) -> None:
    name, _, variance = sampler.partition(", ")
    more = {"sampler": name, "variance": variance or "small", "clamping": False, **FORMS[form]}
    more |= {"decoding_steps": 400, "spacing": "log_snr"}
    made = method("diffuseq", target_length=12, **more)
    network = made.build(40, 25).eval()
    layout = network.layout(sentences([5] * 60, [3] * 60).source, None)
    plan, noise = (
        Plan.build(made.options.diffusion, made.options.decoding),
        seeded_noise(torch.Generator().manual_seed(1)),
    )
    knowing: Any = Posterior(network, plan.visited)
    start = plan.visited.start * noise(torch.empty(*layout.ids.shape, 8))
    last = Walker(knowing, layout, None).walk(plan, made.options.decoding, start, noise)
    ratio = float(plan.visited.noise[0] / plan.visited.signal[0])
    assert float(last[layout.written].mean()) == pytest.approx(0.7, abs=0.03)
    assert float(last[layout.written].std()) == pytest.approx(0.36 / math.sqrt(0.36 + ratio**2), rel=0.05)
    assert torch.equal(last[~layout.written], network.embedding(layout.ids)[~layout.written])
