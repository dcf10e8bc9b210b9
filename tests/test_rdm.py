"""RDM: its noise in closed form, its loss, routing against plain loops, the recording of the released code."""

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from parallel import method, network, pairs, resumes
from torch import Tensor

from core.config import RunConfig, with_values
from core.discrete.decoding import Chance, gumbel, lengths_around, predictor
from core.discrete.noise import SPECIAL, Absorbing, Multinomial
from core.discrete.routing import Router, Written, time_grid
from core.discrete.weighted import barred_logits, token_losses
from core.errors import UserError
from core.methods.rdm import RDM, Draws
from core.methods.rdm_options import AS_RELEASED, MULTINOMIAL
from core.released import replay
from core.text.batches import Batch
from core.text.tokenizer import BOS, EOS, PAD, UNK
from core.training.step import reduced

RECORDED = Path(__file__).parent / "golden" / "rdm_absorbing_a.npz"
V = 12


def rdm(**values: Any) -> RDM:
    made = method("rdm", **values)
    assert isinstance(made, RDM)
    return made


# The released code


def test_the_recording_is_reproduced() -> None:
    report = replay.replay(RECORDED)
    assert report["tokens_identical"] and report["largest"] < 1e-5
    assert len(report["differences"]) == 31


@pytest.mark.parametrize("recipe", [AS_RELEASED, MULTINOMIAL])
def test_the_released_recipes_are_options(recipe: dict[str, Any]) -> None:
    made = with_values(with_values(RunConfig(), {"method": "rdm"}), recipe)
    made.method.check()


def test_numbers_of_steps_that_cannot_be_are_refused() -> None:
    base = with_values(RunConfig(), {"method": "rdm"})
    for name, value in (("noise_steps", 1), ("noise_steps", 10**9), ("passes", 51)):
        with pytest.raises(UserError, match=f"option {name}"):
            with_values(base, {name: value}).method.check()


@pytest.mark.parametrize("name", ["noise_special", "own_mask", "late_time"])
def test_what_other_words_cannot_have_is_refused(name: str) -> None:
    chosen = with_values(with_values(RunConfig(), {"method": "rdm"}), {"noise": "multinomial", name: True})
    with pytest.raises(UserError, match=f"option {name}: True needs noise = absorbing"):
        chosen.method.check()


# Noise


@given(st.integers(0, 49), st.integers(0, 49))
def test_masks_at_two_times_are_nested_and_as_likely_as_each_time_says(one: int, other: int) -> None:
    """Over a grid of uniform numbers, which stands for their distribution."""
    t, n = torch.tensor([[max(one, other), min(one, other)]]), 100
    u = ((torch.arange(n) + 0.5) / n).float()
    grid = torch.stack(torch.meshgrid(u, u, indexing="ij"), -1).view(1, n * n, 2)
    target = torch.full((1, n * n), 5)
    noised = Absorbing(50, UNK).noised(target, target == 5, t, grid)
    share = noised.places.float().mean(-1)[0]
    torch.testing.assert_close(share, (t[0] + 1) / 50, atol=0.02, rtol=0)
    assert one == other or not bool((noised.places[0, 1] & ~noised.places[0, 0]).any())


def exact(process: Multinomial, x_t: int, x_0: int, t: int, s: int) -> np.ndarray:
    """q(x_s | x_t, x_0) by Bayes' rule over all x_s, in double."""
    abar = process.log_abar.double().exp().numpy()
    q = process.log_q.double().exp().numpy()
    q[SPECIAL] = 0.0
    q /= q.sum()
    r, before = abar[t] / (abar[s] if s >= 0 else 1.0), abar[s] if s >= 0 else 1.0
    likely = r * (np.arange(V) == x_t) + (1 - r) * q[x_t]
    prior = before * (np.arange(V) == x_0) + (1 - before) * q
    return np.asarray(likely * prior / (likely * prior).sum())


@given(st.integers(1, 49), st.integers(0, 48), st.integers(3, V - 1), st.integers(3, V - 1))
def test_words_at_the_earlier_time_are_drawn_from_the_exact_posterior(t: int, s: int, x_t: int, x_0: int) -> None:
    process, s = Multinomial(50, V), min(s, t - 1)
    at = [torch.tensor([time]) for time in (t, s)]
    found = process.between(torch.tensor([[x_t]]), torch.tensor([[x_0]]), *at)[0, 0].exp().numpy()
    np.testing.assert_allclose(found, exact(process, x_t, x_0, t, s), atol=3e-3)
    tokens = torch.tensor([x_t])
    ours = process.posterior(tokens, process.one(torch.tensor([x_0])), *at)[0].exp().numpy()
    np.testing.assert_allclose(ours, exact(process, x_t, x_0, t, s), atol=2e-3)


def test_words_are_kept_as_often_as_the_schedule_says() -> None:
    process, B, L = Multinomial(50, V), 200, 100
    target = torch.full((B, L), 5)
    drawn = torch.Generator().manual_seed(1)
    for t in (0, 10, 25, 49):
        u = torch.rand(B, L, 2, V, generator=drawn)
        noised = process.noised(target, target == 5, torch.tensor([[t, t // 2]]).expand(B, 2), u)
        for k, time in enumerate((t, t // 2)):
            kept = float((noised.tokens[:, k] == 5).float().mean())
            abar = float(process.log_abar[time].exp())
            assert kept == pytest.approx(abar + (1 - abar) / (V - 3), abs=0.015)
        assert not bool(torch.isin(noised.tokens, torch.tensor(SPECIAL)).any())


def test_special_tokens_stay_unless_they_are_noise_too() -> None:
    batch = pairs()
    for values, stay in (({}, True), ({"noise": "multinomial"}, True), ({"noise_special": True}, False)):
        made = rdm(**values)
        model = network(made)
        t, L = torch.full((3, 1), 49), batch.target.shape[1]
        u = torch.rand(model.process.shape(3, L, 1))
        tokens = made.noised(model, batch.target, Draws(t, u, torch.full((3,), L))).tokens[:, 0]
        special = torch.isin(batch.target, torch.tensor(SPECIAL))
        assert bool((tokens == batch.target)[special].all()) == stay
        assert stay or bool((tokens == UNK).all())


# The loss


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"reweighting": "reciprocal", "times_T": True},
        {
            "reweighting": "linear",
            "smoothing_reweighted": False,
            "mean_over_padding": True,
            "noise_special": True,
            "times_T": True,
        },
        {"noise": "multinomial"},
        {"coupled": False, "loss_form": "vanilla"},
    ],
)
def test_the_loss_is_the_weighted_cross_entropy_of_noised_tokens(values: dict[str, Any]) -> None:
    made, batch = rdm(**values), pairs()
    model = network(made)
    draws, options = made.draw(model, batch, 1, 0), made.options.objective
    noised, memory = made.noised(model, batch.target, draws), model.encode(batch.source, batch.source_mask)
    total, T = torch.zeros(()), 50
    B, L = batch.target.shape
    for row in range(B):
        for k in range(draws.t.shape[1]):
            t = int(draws.t[row, k])
            states = model.states(noised.tokens[row : row + 1, k], memory.rows(torch.tensor([row])), torch.tensor([t]))
            raw = model.embedding.logits(states)[0]
            barred = raw.index_fill(1, torch.tensor(SPECIAL), -30.0) if "noise" in values else raw
            log, flat = barred.log_softmax(-1), raw.log_softmax(-1).mean(-1)
            weights = {"linear": 1 - t / T, "reciprocal": 1 / (t + 1), "none": 1.0}
            weight = weights["reciprocal" if options.loss_form == "vanilla" else options.reweighting]
            even = weight if options.smoothing_reweighted else 1.0
            for j in noised.places[row, k].nonzero().flatten().tolist():
                total = total + 0.9 * weight * -log[j, batch.target[row, j]] - 0.1 * even * flat[j]
    count = draws.t.shape[1] * (B * L if options.mean_over_padding else int(batch.target_mask.sum()))
    wanted = total / count * (T if options.times_T else 1)
    length = model.length_losses(memory, batch.target_mask.sum(1)).mean()
    torch.testing.assert_close(reduced(made.loss(model, batch, draws)), wanted + 0.1 * length)


def test_the_vanilla_divergence_is_that_of_the_exact_posteriors() -> None:
    made, batch = rdm(noise="multinomial", loss_form="vanilla", coupled=False), pairs()
    model = network(made)
    draws = made.draw(model, batch, 1, 0)
    draws = Draws(torch.tensor([[0], [7], [49]]), draws.u, draws.padded)
    seen = made.see(model, batch, draws)
    found = token_losses(model, seen, made.options.objective)
    p_0 = barred_logits(model, model.process, seen.states).softmax(-1).detach().double().numpy()
    for row, t in enumerate((0, 7, 49)):
        for j in range(1, int(batch.target_mask[row].sum()) - 1):
            x_t, x_0 = int(seen.noised.tokens[row, 0, j]), int(batch.target[row, j])
            if t == 0:
                wanted = -math.log(p_0[row, j, x_0])
            else:
                abar = model.process.log_abar.double().exp().numpy()
                true, r = exact(model.process, x_t, x_0, t, t - 1), abar[t] / abar[t - 1]
                q = np.where(np.isin(np.arange(V), SPECIAL), 0.0, 1 / (V - 3))
                step = r * (np.arange(V) == x_t) + (1 - r) * q[x_t]
                guess = step * (abar[t - 1] * p_0[row, j] + (1 - abar[t - 1]) * q)
                guess, real = guess / guess.sum(), true > 0
                wanted = float((true[real] * np.log(true[real] / guess[real])).sum())
            assert float(found[row, j].detach()) == pytest.approx(wanted, rel=0.02, abs=1e-3)


# Decoding


@given(st.integers(1, 200), st.integers(1, 200))
def test_the_grid_goes_from_T_to_0_in_steps_of_about_one_size(T: int, S: int) -> None:
    S = min(S, T)
    grid = time_grid(T, S)
    sizes = {a - b for a, b in pairwise(grid)}
    assert (grid[0], grid[-1], len(grid)) == (T, 0, S + 1)
    assert sizes <= {T // S, T // S + 1} and min(sizes) > 0


class Kept(Chance):
    """Chance that keeps what it gave."""

    def __init__(self) -> None:
        super().__init__(torch.Generator().manual_seed(5))
        self.given: dict[str, list[Tensor]] = {}

    def uniform(self, what: str, *shape: int) -> Tensor:
        made = super().uniform(what, *shape)
        self.given.setdefault(what, []).append(made)
        return made

    def types(self, what: str, log_p: Any, places: Tensor) -> Tensor:
        drawn = super().uniform(what, *places.shape, V)
        self.given.setdefault(what, []).append(drawn)
        return torch.as_tensor((log_p(places) + gumbel(drawn[places], 1e-10)).argmax(-1))


@torch.no_grad()
def by_loops(made: RDM, model: Any, batch: Batch, start: list[int], row: int, sentence: int, chance: Kept) -> list[Any]:
    """Routing of one hypothesis, as the released code is described: tokens, scores and noise after each step."""
    config, T, n = made.options.decoding, 50, len(start)
    absorbing, process = made.options.process.noise == "absorbing", model.process
    one = Batch.padded(batch.source[sentence : sentence + 1], batch.target[sentence : sentence + 1])
    memory = model.encode(one.source, one.source_mask)
    tokens, scores, noisy, S = list(start), [0.0] * n, [0 < place < n - 1 for place in range(n)], config.passes
    grid, after = time_grid(T, S), []
    for s in range(S):
        told = torch.tensor([grid[s] if config.late_time else grid[s] - 1])
        logits = model.embedding.logits(model.states(torch.tensor([tokens]), memory, told))[0]
        if absorbing:
            logits[:, [UNK, *([] if config.predict_special else SPECIAL)]] = -torch.inf
        else:
            logits[:, SPECIAL] = -30.0
        cs, ct = logits.log_softmax(-1).max(-1)
        free = [token not in SPECIAL for token in tokens]
        rate = math.cos(math.pi / 2 * (s + 1) / S) if config.routing_schedule == "cosine" else 1 - (s + 1) / S
        if not absorbing:
            for j in (j for j in range(n) if not free[j]):
                ct[j], cs[j] = tokens[j], 0.0
        k = int(np.float32(sum(free)) * np.float32(rate))
        keys = torch.tensor([float(cs[j]) if free[j] else 1000.0 for j in range(n)])
        if config.routing_noise:
            keys = keys + config.routing_noise * rate * gumbel(chance.given["topk"][s][row, :n], 1e-8)
        low = (keys < keys.sort().values[k] + (1e-10 if config.loose_cut else 0.0)).tolist()
        again = [
            low[j] and (config.routing == "uncond" or (ct[j] == tokens[j] and cs[j] < scores[j])) for j in range(n)
        ]
        old = list(tokens)
        for j in range(n):
            if (noisy[j] and low[j]) or (not noisy[j] and again[j]):
                tokens[j], scores[j] = UNK, -math.inf
                if not absorbing:
                    then = process.log_abar[grid[s + 1] - 1] if grid[s + 1] else 0.0
                    log_r = process.log_abar[grid[s] - 1] - then
                    fresh = process.log_q + torch.log(1 - log_r.exp() + 1e-6)
                    kept = torch.logaddexp(process.one(torch.tensor(old[j])) + log_r, fresh)
                    tokens[j] = int((kept + gumbel(chance.given["noise"][s][row, j], 1e-10)).argmax())
            elif noisy[j] and not low[j]:
                tokens[j], scores[j] = int(ct[j]), float(cs[j])
        noisy = [(noisy[j] or again[j]) and low[j] for j in range(n)]
        after.append((list(tokens), list(scores), list(noisy)))
    return after


ROUTINGS = [
    {"routing": "cond", "routing_schedule": "cosine"},
    {"routing": "uncond", "routing_schedule": "linear", "routing_noise": 1.0, "passes": 4},
    {"routing": "cond", "late_time": True, "loose_cut": True, "predict_special": True, "noise_special": True},
    {"routing": "uncond", "routing_noise": 2.0, "routing_schedule": "cosine", "noise": "multinomial", "passes": 7},
    {"routing": "cond", "noise": "multinomial", "distinct_start": True},
]


@pytest.mark.parametrize("values", ROUTINGS)
@pytest.mark.parametrize("seed", [1, 2])
def test_routing_is_that_of_plain_loops(values: dict[str, Any], seed: int) -> None:
    made = rdm(length_offset=False, length_candidates=2, **values)
    model, batch, config = network(made, positions=10, seed=seed), pairs(rows=4), made.options.decoding
    memory, chance = model.encode(batch.source, batch.source_mask), Kept()
    lengths = lengths_around(model, memory, 2, 3)
    steps: list[Written] = []
    with torch.no_grad():
        reader = made.reader(model, config, chance)
        Router(model.process, predictor(model, memory, lengths), reader, config, chance).write(lengths, steps.append)
    for row, n in enumerate(lengths.tolist()):
        start = steps[0].before[row, :n].tolist()
        assert start[0] == BOS and start[-1] == EOS
        wanted = by_loops(made, model, batch, start, row, row // 2, chance)
        for step, (tokens, scores, noise) in zip(steps, wanted, strict=True):
            assert step.tokens[row, :n].tolist() == tokens
            assert step.noise[row, :n].tolist() == noise
            torch.testing.assert_close(step.log_p[row, :n], torch.tensor(scores), rtol=1e-4, atol=1e-5)


def certain(**values: Any) -> tuple[RDM, Any]:
    """A network that is all but certain of each word."""
    made = rdm(**values)
    model = network(made, spread=0.0)
    with torch.no_grad():
        model.embedding.table.mul_(3000)
    return made, model


def test_a_certain_word_stays_noise_where_the_cut_is_loose() -> None:
    left = []
    for loose in (True, False):
        made, model = certain(loose_cut=loose)
        found = made.decode(model, pairs(rows=6), made.options.decoding, 1)
        left.append((bool((found.tokens == UNK).any()), bool(torch.isinf(found.score).any())))
    assert left == [(True, True), (False, False)]


@pytest.mark.parametrize("noise", ["absorbing", "multinomial"])
@pytest.mark.parametrize("routing", ["cond", "uncond", "vanilla"])
def test_words_alone_are_written_and_the_same_again(noise: str, routing: str) -> None:
    made = rdm(noise=noise, routing=routing, length_candidates=2, passes=5)
    model, batch = network(made), pairs(rows=4)
    seen: list[float] = []
    with torch.no_grad():
        found = [made.decode(model, batch, made.options.decoding, 1, lambda t, now: seen.append(t)) for _ in range(2)]
    assert found[0].tokens.equal(found[1].tokens) and found[0].score.equal(found[1].score)
    for ids in found[0].ids():
        assert ids[0] == BOS and ids[-1] == EOS and not {BOS, PAD, EOS} & set(ids[1:-1])
        assert noise == "multinomial" or UNK not in ids
    assert seen[:5] == [49, 39, 29, 19, 9]


def test_hot_words_are_drawn_and_cold_ones_are_the_likeliest() -> None:
    batch = pairs(rows=4)
    written = []
    for temperature in (0.0, 1e-3, 5.0):
        made = rdm(temperature=temperature)
        with torch.no_grad():
            written.append(made.decode(network(made), batch, made.options.decoding, 1).ids())
    assert written[0] == written[1] != written[2]


# Training


@pytest.mark.parametrize("values", [{}, {"noise": "multinomial", "loss_form": "vanilla", "coupled": False}])
def test_a_broken_off_training_goes_on_bit_for_bit(values: dict[str, Any], tmp_path: Path) -> None:
    assert resumes("rdm", tmp_path, **values)
