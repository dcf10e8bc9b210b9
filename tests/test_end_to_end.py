"""Diffusion over embeddings learned end to end: the canvas, the loss, and times drawn by it."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from end_to_end import BOTH, method, sentences
from hypothesis import given
from hypothesis import strategies as st

from ablations import presets
from core.config import with_values
from core.diffusion import end_to_end
from core.diffusion.schedules import alpha_bars
from core.diffusion.time_samplers import KEPT, UNIFORM, LossSecondMoments
from core.evaluator import new_network
from core.methods import method_for
from core.text.materials import prepare
from core.text.shapes import Shape, fill
from core.text.tokenizer import BOS, EOS, PAD
from core.training.step import reduced

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
