"""SeqDiffuSeq: schedules that adapt to the loss of each position, its network and its decoding."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ablations import presets
from core.config import RunConfig, with_values
from core.diffusion import end_to_end
from core.diffusion.position_schedules import HIGHEST, LEAST_RISE, PositionProcess, adapted
from core.diffusion.process import Visited
from core.diffusion.samplers import SAMPLERS, Denoise, flattened, posterior, sample
from core.diffusion.schedules import alpha_bars, variance_preserving
from core.diffusion.seqdiffuseq_network import PositionDenoiser
from core.errors import UserError
from core.evaluator import new_network
from core.methods.seqdiffuseq import PositionLoss, SeqDiffuSeq
from core.methods.seqdiffuseq_options import AS_RELEASED, Options, Walk
from core.model_folder import load_weights
from core.sections import DecodingConfig
from core.text.batches import BatchStream
from core.text.materials import prepare
from core.text.shapes import Shape, fill
from core.text.tokenizer import PAD
from core.training.optimizer import optimizer_for
from core.training.step import Step, reduced

CPU = torch.device("cpu")


def config(**values: Any) -> RunConfig:
    usual = {"dropout": 0.0, "diffusion_steps": 100, "granularity": 5, "stride": 3, "decoding_steps": 4}
    return with_values(presets.get("smoke").config_for("seqdiffuseq"), {**usual, **values})


def begin(**values: Any) -> tuple[SeqDiffuSeq, PositionDenoiser, BatchStream]:
    """A method, a fresh network and its batches."""
    chosen = config(**values)
    method, text = SeqDiffuSeq(chosen.method), prepare(chosen.data)
    network = new_network(chosen, method, text, CPU)
    return method, network, BatchStream(text.train, 256, 1)


# The schedule


def process(T: int = 100, positions: int = 4, granularity: int = 5, stride: int | None = 2) -> PositionProcess:
    return PositionProcess(alpha_bars("sqrt", T), positions, 1.0, granularity, stride)


@given(st.integers(2, 30), st.integers(1, 9), st.integers(2, 6), st.integers(0, 10_000))
def test_a_schedule_falls_and_keeps_to_the_tables_range(bins: int, granularity: int, positions: int, seed: int) -> None:
    T = bins * granularity
    table = np.repeat(alpha_bars("sqrt", max(T, 2))[:, None], positions, 1)
    losses = np.random.default_rng(seed).random((-(-len(table) // granularity), positions))
    made = adapted(table, losses, granularity, positions - 1)
    assert np.all(np.diff(made, axis=0) <= 0)
    assert made.min() >= table.min() and made.max() <= table.max()
    np.testing.assert_array_equal(made[:, 0], table[:, 0])
    np.testing.assert_array_equal(made[:, -1], table[:, -1], "beyond the window")


def test_the_loss_then_rises_evenly_over_t() -> None:
    """Where the loss at a level abar is known, f(abar), the new schedule's losses are T evenly spaced ones."""
    T, granularity = 2000, 20
    table = np.repeat(alpha_bars("sqrt", T)[:, None], 2, 1)

    def loss_at(abar: Any) -> Any:
        return (1.0 - abar) ** 3

    made = adapted(table, loss_at(table).reshape(T // granularity, granularity, 2).mean(1), granularity, 2)
    rise = np.diff(loss_at(made[:, 1])[50:-50])
    assert rise.std() < 0.15 * rise.mean()
    before = np.diff(loss_at(table[:, 1])[50:-50])
    assert before.std() > 0.3 * before.mean()


def test_the_new_schedule_in_numbers() -> None:
    """Two bins of two steps: losses 0 and 1, so knots at -0.5, 0, 1, 1.5; and losses that fall are made to rise."""
    table = np.repeat(np.array([0.9, 0.7, 0.5, 0.1])[:, None], 3, 1)
    made = adapted(table, np.array([[0.0, 0.0, 1.0], [1.0, 1.0, 0.0]]), 2, 3)
    wanted = np.interp(np.linspace(-0.5 - 1e-5, 1.5 + 1e-5, 4), [-0.5, 0.0, 1.0, 1.5], [0.9, 0.8, 0.3, 0.1])
    np.testing.assert_allclose(made[:, 1], wanted)
    at = np.array([1 - LEAST_RISE / 2, 1, 1 + LEAST_RISE, 1 + LEAST_RISE * 1.5])
    wanted = np.interp(np.linspace(at[0] - 1e-5, at[-1] + 1e-5, 4), at, [0.9, 0.8, 0.3, 0.1])
    np.testing.assert_allclose(made[:, 2], wanted, rtol=1e-9)


def test_losses_are_gathered_by_bin_where_text_is() -> None:
    made = process()
    made.window = 3
    t, losses = torch.tensor([7, 9, 95]), torch.tensor([[1.0, 2.0, 3.0], [5.0, 6.0, 7.0], [9.0, 9.0, 9.0]])
    real = torch.tensor([[True, True, False], [True, True, True], [True, False, False]])
    made.see(t, losses, real)
    prior = torch.linspace(0, HIGHEST, 20, dtype=torch.float64)
    assert (made.losses[1] - prior[1]).tolist() == pytest.approx([6.0, 8.0, 7.0, 0.0])
    assert made.counts[1].tolist() == [3.0, 3.0, 2.0, 1.0]
    assert made.losses[19, 0] == HIGHEST + 9.0 and made.counts[19].tolist() == [2.0, 1.0, 1.0, 1.0]
    assert torch.equal(made.losses[0], prior[:1].expand(4))


def test_it_adapts_every_stride_updates_from_the_third_on_and_forgets() -> None:
    made, due = process(stride=2), []
    t, losses, real = torch.arange(0, 100, 5), torch.rand(20, 4), torch.ones(20, 4, dtype=torch.bool)
    for update in range(1, 11):
        if made.see(t, losses, real):
            due.append(update)
            made.adapt()
            assert torch.equal(made.counts, torch.ones(20, 4, dtype=torch.float64))
    assert due == [6, 8, 10] and not torch.equal(made.alpha_bar[:, 1], made.alpha_bar[:, 0])
    assert not any(process(stride=None).see(t, losses, real) for _ in range(10))


def test_x_t_has_the_level_of_its_position() -> None:
    made = process(positions=3)
    made.alpha_bar[:, 1] = made.alpha_bar[:, 1] ** 2
    x_0, eps, t = torch.ones(2, 3, 4), torch.full((2, 3, 4), 10.0), torch.tensor([3, 80])
    x_t = made.sample(x_0, t, eps)
    for row, at in enumerate(t.tolist()):
        for position in range(3):
            abar = float(made.alpha_bar[at, position])
            wanted = math.sqrt(abar) + 10 * math.sqrt(1 - abar)
            torch.testing.assert_close(x_t[row, position], torch.full((4,), wanted))
    torch.testing.assert_close(made.signal[3] ** 2 + made.noise[3] ** 2, torch.ones(3))


# Samplers over positions


def by_positions() -> np.ndarray:
    """Three schedules, one of which stands still for a while."""
    abar = np.stack([alpha_bars("sqrt", 400), alpha_bars("cosine", 400), alpha_bars("sqrt", 400) ** 1.5], 1)
    abar[100:110, 2] = abar[100, 2]
    return np.minimum.accumulate(abar, axis=0)


@pytest.mark.parametrize(("F", "preserving"), [(1.0, False), (4.0, False), (4.0, True)])
@pytest.mark.parametrize("name", ["ancestral", "ddim", "dpm_solver", "half"])
def test_moments_are_those_of_the_data_at_each_position(name: str, F: float, preserving: bool) -> None:
    mean, std = torch.tensor([0.7, -1.0, 0.2])[:, None], torch.tensor([0.6, 0.3, 1.2])[:, None]
    sampler = "ddim" if name == "half" else name
    decoding = DecodingConfig(sampler=sampler, decoding_steps=400, eta=0.5 if name == "half" else 0.0)  # type: ignore[arg-type]
    abar = variance_preserving(by_positions(), F) if preserving else by_positions()
    steps = Visited.among(abar, decoding, 1.0 if preserving else F)
    levels = {
        t: (torch.from_numpy(s)[:, None], torch.from_numpy(n)[:, None])
        for t, s, n in zip(steps.t, steps.signal, steps.noise, strict=True)
    }

    def denoise(z_t: Tensor, t: float, z_0_prev: Tensor | None) -> Tensor:
        signal, noise = levels[int(t)]
        return (mean / std**2 + signal * z_t / noise**2) / (1 / std**2 + signal**2 / noise**2)

    exact: Denoise = denoise
    found = sample(
        SAMPLERS[sampler](steps),
        exact,
        steps,
        steps.start * torch.randn(20_000, 3, 1, dtype=torch.float64),
        torch.randn_like,
        0,
    )
    signal, noise = levels[0]
    wanted = std**2 / (std**2 + (noise / signal) ** 2).sqrt()
    torch.testing.assert_close(found.mean(0), mean.double(), atol=0.03, rtol=0)
    torch.testing.assert_close(found.std(0), wanted.double(), rtol=0.06, atol=0)


@pytest.mark.parametrize("name", ["ancestral", "ddim", "dpm_solver", "cedi"])
def test_positions_that_share_a_schedule_are_as_without_positions(name: str) -> None:
    decoding = DecodingConfig(sampler=name, decoding_steps=10, eta=0.3 if name == "ddim" else 0.0)  # type: ignore[arg-type]
    abar = alpha_bars("sqrt", 50)
    alone, together = (Visited.among(table, decoding, 2.0) for table in (abar, np.repeat(abar[:, None], 3, 1)))
    one, other = SAMPLERS[name](alone), SAMPLERS[name](together)
    eps = torch.randn(4, 3, 2)
    for k in range(9, 0, -1):
        z, z_0 = torch.randn(2, 4, 3, 2)
        torch.testing.assert_close(other(k, z, z_0, lambda like: eps), one(k, z, z_0, lambda like: eps))


def test_the_released_variance_is_read_from_a_flat_table() -> None:
    steps = Visited.among(by_positions(), DecodingConfig(decoding_steps=20), 1.0)
    sigma = posterior(steps.signal, steps.noise)[2]
    for i, found in enumerate(flattened(steps).tolist()):
        assert found == sigma[max(i // 3, 1), i % 3]


# Training


def test_the_schedule_adapts_as_it_trains_and_stands_in_the_weights() -> None:
    method, network, stream = begin()
    chosen = config()
    step = Step(network.train(), method, optimizer_for(network, chosen.training), chosen)
    before = network.process.alpha_bar.clone()
    for index in range(9):
        step(stream.at(index), index)
        changed = not torch.equal(network.process.alpha_bar, before)
        assert changed == (index == 8), "the third stride"
    moved = (network.process.alpha_bar != before).any(0)
    assert moved[1 : network.window].all() and not moved[0] and not moved[network.window :].any()
    other = begin()[1]
    load_weights(other, network.state_dict(), "this test")
    assert torch.equal(other.process.alpha_bar, network.process.alpha_bar) and other.process.window == network.window


def test_rows_that_are_no_sentences_teach_the_schedule_nothing() -> None:
    method, network, stream = begin()
    batch = stream.at(0)
    draws = method.draw(network, batch, 1, 0)
    method.adapt(network, batch, draws, method.loss(network, batch, draws))
    losses, counts = network.process.losses.clone(), network.process.counts.clone()
    network.process.forget()
    shape = Shape(batch.target.shape[1] + 4, len(batch.target) + 3)
    more, drawn = fill(batch, shape), draws.filled(shape.rows, shape.length)
    method.adapt(network, more, drawn, method.loss(network, more, drawn))
    torch.testing.assert_close(network.process.losses, losses, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(network.process.counts, counts)


@pytest.mark.parametrize("coin", [False, True])
@pytest.mark.parametrize("count_padding", [True, False])
def test_the_loss_is_the_mean_over_sentences(count_padding: bool, coin: bool) -> None:
    method, network, stream = begin(count_padding=count_padding)
    batch = stream.at(0)
    drawn = method.draw(network, batch, 1, 0)
    draws = type(drawn)(drawn.t, drawn.weight, drawn.eps_0, drawn.eps, None, None, coin)
    layout, made = end_to_end.predict(network, batch, draws, 0.0)
    mask = torch.ones_like(layout.written) if count_padding else layout.ids != PAD
    nll = -network.embedding.logits(made.x_0).log_softmax(-1).gather(-1, layout.ids[..., None])[..., 0]
    errors = end_to_end.squared_errors(made, draws.t)
    last = network.process.signal[-1][:, None] * made.x_0
    wanted = {
        "mse": ((errors * mask).sum(1) / mask.sum(1)).mean(),
        "token": ((nll * mask).sum(1) / mask.sum(1)).mean(),
        "tT": last.square().mean(),
    }
    loss = method.loss(network, batch, draws)
    assert isinstance(loss, PositionLoss) and not loss.errors.requires_grad
    for name, value in wanted.items():
        torch.testing.assert_close(loss.terms[name].mean(), value, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(loss.errors, errors)


def test_self_conditioning_takes_the_last_prediction_by_a_coin() -> None:
    method, network, stream = begin()
    coins = [method.draw(network, stream.at(step), 1, step).coin for step in range(40)]
    assert 8 < sum(coins) < 32
    without, plain, _ = begin(self_conditioning=False)
    assert not any(without.draw(plain, stream.at(step), 1, step).coin for step in range(20))
    layout = network.layout(stream.at(0).source, stream.at(0).target)
    memory, x = network.read(stream.at(0).source), torch.randn(*layout.ids.shape, network.latent_dim)
    none, zeros, other = (network.denoise(x, torch.ones(1), layout, memory, last) for last in (None, 0 * x, x))
    assert torch.equal(none, zeros) and not torch.equal(none, other)


def test_look_ups_of_padding_teach_its_embedding_nothing() -> None:
    _, network, stream = begin()
    assert not bool(network.embedding.table[PAD].any())
    network.embedding(stream.at(0).target).sum().backward()
    assert network.embedding.table.grad is not None and not bool(network.embedding.table.grad[PAD].any())


def test_every_parameter_learns() -> None:
    method, network, stream = begin()
    batch = stream.at(0)
    reduced(method.loss(network, batch, method.draw(network, batch, 1, 0))).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not bool(p.grad.any())] == []


# Writing


def test_the_samplers_factor_is_its_own_whatever_training_had() -> None:
    """In the variance-preserving form the schedule that training has come to holds its factor, here of 4, and not that
    of a table alone: each form is 1 before its own first step."""
    plain, _, _ = begin()
    kept, network, _ = begin(variance_preserving=True, noise_factor=4.0)
    decoding = Walk(decoding_steps=5, decoding_noise_factor=4.0)
    by = kept.plan(network, decoding).visited
    other = plain.plan(begin()[1], decoding).visited
    np.testing.assert_allclose(by.signal / by.noise, other.signal / other.noise, rtol=0.2)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"released_variance": True},
        {"sampler": "ddim", "eta": 1.0},
        {"sampler": "dpm_solver", "spacing": "log_snr"},
        {"sampler": "cedi", "clamping": True},
        {"variance": "large"},
        {"decoding_schedule": "cosine", "decoding_noise_factor": 2.0},
        {"decoding_variance_preserving": True, "decoding_noise_factor": 2.0},
        {"noise_candidates": 3},
        {"noise_factor": 4.0, "embedding_norm": "latent", "token_loss": "anchor"},
    ],
    ids=str,
)
def test_every_option_of_the_decoding_writes_a_batch(values: dict[str, Any]) -> None:
    method, network, stream = begin(**values)
    decoding, batch = method.options.decoding, stream.at(0)
    network.process.alpha_bar[:, 1:] **= 1.5
    network.eval()
    found, again = (method.decode(network, batch, decoding, 1) for _ in range(2))
    assert torch.equal(found.tokens, again.tokens) and bool(torch.isfinite(found.score).all())
    assert len(found.score) == len(batch.target) * method.count(decoding)


def test_each_call_is_given_what_the_call_before_predicted(monkeypatch: pytest.MonkeyPatch) -> None:
    method, network, stream = begin()
    given: list[Tensor | None] = []
    made: list[Tensor] = []
    plain = network.denoise

    def watching(x: Tensor, time: Tensor, layout: Any, memory: Any, last: Tensor | None = None) -> Tensor:
        given.append(last)
        made.append(plain(x, time, layout, memory, last))
        return made[-1]

    monkeypatch.setattr(network, "denoise", watching)
    method.decode(network, stream.at(0), method.options.decoding, 1)
    assert given[0] is None and len(given) == 4
    assert all(torch.equal(last, before) for last, before in zip(given[1:], made, strict=False) if last is not None)


@pytest.mark.parametrize(
    "values",
    [
        {"granularity": 0},
        {"granularity": 51},
        {"stride": 0},
        {"time_sampler": "lossaware"},
        {"released_ddim": True, "sampler": "ddim"},
        {"released_variance": True, "sampler": "ddim"},
    ],
    ids=str,
)
def test_values_that_no_run_can_have_are_refused_by_name(values: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"option {next(iter(values))}"):
        config(**values).method.check()


def test_the_released_recipe_has_options_that_there_are() -> None:
    recipe = config(**AS_RELEASED | {"diffusion_steps": 2000, "granularity": 20})
    recipe.method.check()
    assert isinstance(recipe.method, Options) and recipe.method.decoding.released_variance
