"""Diffusion over embeddings learned end to end: the canvas, the loss, times drawn by it, decoding over a canvas."""

import dataclasses
import math
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ablations import presets
from core.candidates import Candidates
from core.checks import check
from core.config import RunConfig, with_values
from core.diffusion import end_to_end
from core.diffusion.end_to_end_sections import ProcessConfig, WalkConfig
from core.diffusion.latent_denoiser import LatentDenoiser, Layout
from core.diffusion.process import Visited
from core.diffusion.samplers import ancestral_large, one_down, seeded_noise
from core.diffusion.schedules import alpha_bars
from core.diffusion.time_samplers import KEPT, UNIFORM, LossSecondMoments
from core.diffusion.walks import Plan, Walker, one_below, truncated
from core.errors import UserError
from core.evaluator import new_network
from core.methods import method_for
from core.methods.method import Term
from core.sections import DecodingConfig, DiffusionConfig
from core.text.batches import Batch
from core.text.materials import prepare
from core.text.shapes import Shape, fill
from core.text.tokenizer import BOS, EOS, PAD
from core.training.step import reduced

SIZE = {"model_dim": 16, "latent_dim": 8, "ffn_dim": 32, "encoder_layers": 1, "decoder_layers": 1, "dropout": 0.0}
BOTH = ["diffuseq", "diffusion_lm"]


def method(name: str, **values: Any) -> Any:
    """A small one with these options."""
    chosen = with_values(RunConfig(), {"method": name, **SIZE, **values})
    check(chosen)
    return method_for(chosen.method)


def sentences(sources: list[int], targets: list[int]) -> Batch:
    """Pairs of so many tokens a side, beside EOS and BOS."""
    count = iter(range(4, 10_000))

    def rows(lengths: list[int], before: list[int]) -> Tensor:
        made = [torch.tensor([*before, *(next(count) % 36 + 4 for _ in range(n)), EOS]) for n in lengths]
        return torch.nn.utils.rnn.pad_sequence(made, batch_first=True, padding_value=PAD)

    return Batch.padded(rows(sources, []), rows(targets, [BOS]))


PAIRS = st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), min_size=1, max_size=5)


# The canvas


def released_row(source: list[int], target: list[int], length: int) -> tuple[list[int], list[int]]:
    """A joined sequence as the released loader makes it, token by token."""
    src, trg = [BOS, *source], [BOS, *target]
    while len(src) + len(trg) > length - 3:
        if len(src) > len(trg):
            src.pop()
        elif len(src) < len(trg):
            trg.pop()
        else:
            src.pop()
            trg.pop()
    row = [*src, EOS, EOS, *trg, EOS]
    mask = [0] * (len(src) + 2)
    return row + [PAD] * (length - len(row)), mask + [1] * (length - len(mask))


@given(PAIRS, st.integers(8, 50))
def test_a_canvas_of_one_length_is_cut_and_filled_as_released(pairs: list[tuple[int, int]], length: int) -> None:
    batch = sentences(*map(list, zip(*pairs, strict=True)))
    network = method("diffuseq", sequence_length=length).build(40, 25)
    layout = network.layout(batch.source, batch.target)
    assert bool(layout.seen.all())
    for i, (n, m) in enumerate(pairs):
        row, mask = released_row(batch.source[i, :n].tolist(), batch.target[i, 1 : m + 1].tolist(), length)
        assert layout.ids[i].tolist() == row and layout.written[i].long().tolist() == mask


@given(PAIRS, st.integers(2, 25))
def test_a_window_stands_behind_each_source_and_nothing_looks_at_the_rest(
    pairs: list[tuple[int, int]], window: int
) -> None:
    batch = sentences(*map(list, zip(*pairs, strict=True)))
    network = method("diffuseq", target_length=window).build(40, 25)
    layout = network.layout(batch.source, batch.target)
    for i, (n, m) in enumerate(pairs):
        source, target = batch.source[i, :n].tolist(), batch.target[i, 1 : m + 1].tolist()
        written = [BOS, *target][: window - 1] + [EOS]
        wanted = [BOS, *source, EOS, EOS, *written, *[PAD] * (window - len(written))]
        assert layout.ids[i, layout.seen[i]].tolist() == wanted
        assert layout.seen[i].tolist() == [True] * len(wanted) + [False] * (layout.seen.shape[1] - len(wanted))
        assert int(layout.written[i].sum()) == window


def test_positions_of_the_window_may_count_anew() -> None:
    batch = sentences([3, 11, 6], [5, 4, 8])
    for restarts in (False, True):
        network = method("diffuseq", target_length=9, restart_positions=restarts).build(40, 25)
        layout = network.layout(batch.source, None)
        placed = network.placed(layout).expand(*layout.ids.shape, -1)
        window = placed[layout.written].view(3, 9, -1)
        assert all(torch.equal(one, window[0]) for one in window) == restarts
        own = network.positions.table[27:36] if restarts else network.positions.table[6:15]
        assert torch.equal(window[0], own), "no position of a source is one of a window"
        assert torch.equal(placed[0, :6], network.positions.table[:6])


def test_a_source_that_leaves_no_room_is_cut_when_it_has_to_be() -> None:
    network = method("diffuseq", sequence_length=12).build(40, 25)
    layout = network.layout(sentences([4, 20], [3, 3]).source, None)
    assert layout.written.sum(1).tolist() == [12 - 7, 2], "BOS and EOS have room"


@pytest.mark.parametrize("name", BOTH)
def test_a_text_does_not_depend_on_its_batch_nor_on_its_own_target(name: str) -> None:
    made = method(name, target_length=9)
    network = made.build(40, 25).eval()
    batch = sentences([3, 11, 6], [5, 4, 8])
    shape = 3, network.width(batch.source.shape[1]), 8
    x = torch.randn(shape)
    with torch.no_grad():
        outs = []
        for target in (batch.target, None):
            layout = network.layout(batch.source, target)
            outs.append(network.denoise(x, torch.ones(1), layout, network.read(batch.source))[layout.written])
        alone = network.layout(batch.source[:1, :4], None)
        one = network.denoise(x[:1, : alone.ids.shape[1]], torch.ones(1), alone, network.read(batch.source[:1, :4]))
    torch.testing.assert_close(outs[0], outs[1])
    torch.testing.assert_close(one[alone.written], outs[0][:9], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", BOTH)
def test_the_window_is_the_longest_training_target_and_goes_with_the_weights(name: str) -> None:
    chosen = presets.get("smoke").config_for(name)
    text = prepare(chosen.data)
    network = new_network(chosen, method_for(chosen.method), text, torch.device("cpu"))
    assert network.window == text.train.target.lengths.max() < chosen.data.max_length
    other = method_for(chosen.method).build(len(text.tokenizer), chosen.data.max_length)
    assert other.window == chosen.data.max_length
    other.load_state_dict(network.state_dict())
    assert other.window == network.window
    asked = with_values(chosen, {"target_length": 7})
    assert new_network(asked, method_for(asked.method), text, torch.device("cpu")).window == 7


# The loss


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("values", [{}, {"token_loss": "anchor", "embedding_norm": "latent", "noise_factor": 4.0}])
def test_the_loss_is_the_sum_of_its_means(name: str, values: dict[str, Any]) -> None:
    made = method(name, target_length=9, **values)
    network, batch = made.build(40, 25), sentences([3, 11, 6], [5, 4, 8])
    draws = dataclasses.replace(made.draw(network, batch, 1, 0), t=torch.tensor([0, 700, 1999]))
    draws = dataclasses.replace(draws, weight=torch.tensor([1.0, 2.0, 0.5]))
    layout, seen = end_to_end.predict(network, batch, draws, 0.0)
    where = layout.written
    abar = torch.from_numpy(alpha_bars("sqrt", 2000)).float()
    space, F = network.embedding, values.get("noise_factor", 1.0)
    clean = space(layout.ids)
    x_0 = clean + (1 - abar[0]).sqrt() * draws.eps_0
    at = abar[draws.t][:, None, None]
    x_t = torch.where(where[..., None], at.sqrt() * x_0 + F * (1 - at).sqrt() * draws.eps, x_0)
    torch.testing.assert_close(seen.x_t, x_t)
    out = network.denoise(x_t, draws.t * 0.5, layout, network.read(batch.source))
    wanted = x_0.clone()
    wanted[0] = clean[0]
    point = out if values else x_0
    nll = torch.nn.functional.cross_entropy(space.logits(point).transpose(1, 2), layout.ids, reduction="none")
    each = (wanted - out).square().mean(-1) + nll + (abar[-1].sqrt() * x_0).square().mean(-1)
    sentence = (each * where).sum(1) / where.sum(1)
    loss = made.loss(network, batch, draws)
    torch.testing.assert_close(reduced(loss), (sentence * draws.weight).mean(), rtol=1e-4, atol=1e-5)
    logged = loss.watched()["nll"]
    real = where & (layout.ids != PAD)
    nll = torch.nn.functional.cross_entropy(space.logits(out).transpose(1, 2), layout.ids, reduction="none")
    torch.testing.assert_close(logged.mean(), nll[real].mean(), rtol=1e-4, atol=1e-5)


def test_the_source_counts_where_asked_and_carries_the_first_noise_alone() -> None:
    batch = sentences([3, 11], [5, 4])
    counts = []
    for counted in (False, True):
        made = method("diffuseq", target_length=9, count_source=counted)
        network = made.build(40, 25)
        draws = made.draw(network, batch, 1, 0)
        layout, seen = end_to_end.predict(network, batch, draws, 0.0)
        assert torch.equal(seen.x_t[~layout.written], seen.x_0[~layout.written])
        counts.append(int(made.loss(network, batch, draws).terms["mse"].count()))
    assert counts == [18, 18 + 6 + 14]


@pytest.mark.parametrize(
    "values", [{"sequence_length": 24}, {"target_length": 9}, {"target_length": 9, "restart_positions": True}]
)
def test_filled_batches_have_the_same_loss_and_teach_the_same(values: dict[str, Any]) -> None:
    made = method("diffuseq", count_source=True, **values)
    network, batch = made.build(40, 25), sentences([3, 11, 6], [5, 4, 8])
    draws, shape = made.draw(network, batch, 1, 0), Shape(15, 5)
    one = made.loss(network, batch, draws)
    full, more = fill(batch, shape), draws.filled(shape.rows, shape.length)
    other = made.loss(network, full, more)
    torch.testing.assert_close(reduced(one), reduced(other))
    moments = []
    for shown, drawn, loss in ((batch, draws, one), (full, more, other)):
        network.moments = LossSecondMoments(2000)
        made.adapt(network, shown, drawn, loss)
        moments.append(network.moments)
    assert int(moments[0].seen.sum()) == 3
    torch.testing.assert_close(moments[0].losses, moments[1].losses)
    assert torch.equal(moments[0].seen, moments[1].seen)


# The soft absorbing state of DiffuSeq-v2


@pytest.mark.parametrize("factor", [1.0, 4.0])
def test_positions_are_absorbed_with_the_rate_that_was_asked_for(factor: float) -> None:
    """Whatever the noise factor, which would make the rate more than 1."""
    own = {"absorbing": True, "absorb_rate": 0.5, "noise_factor": factor}
    made = method("diffuseq", **own, target_length=9, diffusion_steps=20)
    network, batch = made.build(40, 25), sentences([6] * 400, [8] * 400)
    for t in (3, 19):
        draws = dataclasses.replace(made.draw(network, batch, 1, 0), t=torch.full((400,), t))
        layout, seen = end_to_end.predict(network, batch, draws, 0.5)
        absorbed = (seen.x_t == network.absorbing).all(-1)
        assert not absorbed[~layout.written].any()
        expected = 0.5 * math.sqrt(1 - alpha_bars("sqrt", 20)[t])
        assert float(absorbed[layout.written].float().mean()) == pytest.approx(expected, abs=0.03)
        kept = layout.written & ~absorbed
        around = (seen.x_t - network.absorbing)[kept]
        signal, noise = network.process.signal[t], network.process.noise[t]
        wanted = signal * (seen.x_0 - network.absorbing)[kept] + noise * draws.eps[kept]
        torch.testing.assert_close(around, wanted, rtol=1e-4, atol=1e-5)
    loss = made.loss(network, batch, draws)
    assert loss.terms["absorbing"].weight == 0.01
    reduced(loss).backward()
    assert network.absorbing.grad is not None and bool(network.absorbing.grad.any())


def test_decoding_starts_around_the_absorbing_state_unless_the_slip_is_asked_for() -> None:
    made = method("diffuseq", absorbing=True)
    network = made.build(40, 25)
    assert made.centre(network, made.options.decoding) is network.absorbing
    slipping = dataclasses.replace(made.options.decoding, absorbing_start=False)
    assert made.centre(network, slipping) == 0.0


# Times drawn by the loss


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0.0, 10.0), st.booleans()), min_size=1, max_size=120))
def test_the_last_losses_of_each_time_are_kept(seen: list[tuple[int, float, bool]]) -> None:
    moments, history = LossSecondMoments(4), [list[float]() for _ in range(4)]
    for start in range(0, len(seen), 25):
        part = seen[start : start + 25]
        t, losses, counted = (torch.tensor(column) for column in zip(*part, strict=True))
        moments.update(t, losses.double(), counted)
        for at, loss, counts in part:
            if counts:
                history[at] = [*history[at], loss][-KEPT:]
    if all(len(row) == KEPT for row in history):
        roots = np.sqrt([np.mean(np.square(row)) for row in history])
        wanted = roots / roots.sum() * (1 - UNIFORM) + UNIFORM / 4 if roots.sum() > 0 else np.full(4, math.nan)
        np.testing.assert_allclose(moments.weights().numpy(), wanted, rtol=1e-6)
    else:
        assert moments.weights().tolist() == [1.0] * 4


def test_importance_weights_undo_what_is_drawn_more_often() -> None:
    moments = LossSecondMoments(8)
    t = torch.arange(8).repeat(KEPT)
    moments.update(t, (t + 1).double())
    u = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    drawn, weight = moments.draw(u)
    assert int(torch.bincount(drawn, minlength=8).argmax()) == 7
    values = torch.arange(8.0).square()
    assert float((values[drawn] * weight).mean()) == pytest.approx(float(values.mean()), rel=1e-3)
    uniform = LossSecondMoments(8).draw(u)
    assert torch.equal(uniform[0], (u * 8).long()) and uniform[1].unique().tolist() == [1.0]


# Decoding


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


# Options


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
