"""DINOISER: the least noise, both passes, and decoding."""

import dataclasses
import itertools
import math
from typing import Any

import numpy as np
import pytest
import sacrebleu
import torch
from hypothesis import given
from hypothesis import strategies as st

from ablations import presets
from core.candidates import Candidates
from core.config import RunConfig, with_values
from core.diffusion import noise_clipping
from core.diffusion.dinoiser_network import SphereDenoiser
from core.diffusion.draws import Draws
from core.diffusion.noise_clipping import least_time, nearest_variance, signal_at
from core.diffusion.samplers import posterior
from core.diffusion.schedules import SCHEDULES
from core.diffusion.spacing import SPACINGS
from core.errors import UserError
from core.evaluator import new_network
from core.methods.dinoiser import Dinoiser, in_two_stages, passes, visited
from core.methods.dinoiser_options import AS_RELEASED, Decoding, Options
from core.scoring.bleu import mbr_choice, sentence_bleu
from core.text.batches import Batch, BatchStream
from core.text.materials import prepare
from core.training.step import reduced

CPU = torch.device("cpu")


def config(**values: Any) -> RunConfig:
    return with_values(presets.get("smoke").config_for("dinoiser"), {"dropout": 0.0, **values})


def begin(**values: Any) -> tuple[Dinoiser, SphereDenoiser, Batch]:
    """A method, a fresh network and a batch."""
    chosen = config(**values)
    assert isinstance(chosen.method, Options)
    method, text = Dinoiser(chosen.method), prepare(chosen.data)
    network = new_network(chosen, method, text, CPU)
    return method, network, BatchStream(text.train, 256, 1).at(0)


# The least noise


@given(st.integers(2, 40), st.integers(1, 12), st.integers(1, 9))
def test_the_variance_is_that_of_the_nearest_other_type(vocab: int, d: int, rows: int) -> None:
    table = torch.nn.functional.normalize(torch.randn(vocab, d), dim=-1) * math.sqrt(d)
    apart = (table[:, None] - table).square().sum(-1)
    apart.fill_diagonal_(math.inf)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(noise_clipping, "ROWS", rows)
        found = nearest_variance(table)
    torch.testing.assert_close(found, apart.amin(1).mean() / d, rtol=1e-4, atol=1e-5)


def test_the_least_time_in_closed_form() -> None:
    """Types at right angles are sqrt(2 d) apart: a variance of 2 for each dimension."""
    table = math.sqrt(8) * torch.eye(8)
    assert float(least_time(table, "clipped", 0.1)) == pytest.approx(math.sqrt(2 / 3))
    assert float(least_time(table, "clipped_s", 0.1)) == pytest.approx(math.sqrt(3 / 4))
    assert float(least_time(table, "none", 0.1)) == pytest.approx(0.1)
    t = least_time(table, "clipped", 0.1)
    assert float((t / signal_at(t)).square()) == pytest.approx(2), "its noise-to-signal ratio is that variance"


@pytest.mark.parametrize("clipping", ["clipped", "clipped_s", "none"])
def test_no_less_noise_is_drawn(clipping: str) -> None:
    method, network, batch = begin(clipping=clipping, least_noise=0.25)
    least = least_time(network.embedding.output(), clipping, 0.25)
    t = torch.cat([method.draw(network, batch, 1, step).t for step in range(30)])
    assert float(least) <= float(t.min()) < float(least) + 0.05 and 0.95 < float(t.max()) <= 1
    with torch.no_grad():  # all types but a few closer together
        network.embedding.table[5:] = network.embedding.table[5] + 0.01 * torch.randn_like(network.embedding.table[5:])
    later = torch.cat([method.draw(network, batch, 1, step).t for step in range(30)])
    assert (float(later.min()) < 0.2) == (clipping == "clipped"), "it goes by the embeddings as they are"


def test_draws_are_a_function_of_seed_and_step() -> None:
    method, network, batch = begin()
    one, same, other = (method.draw(network, batch, 1, step) for step in (3, 3, 4))
    assert torch.equal(one.t, same.t) and torch.equal(one.eps, same.eps)
    assert not torch.equal(one.t, other.t) and not torch.equal(one.eps, other.eps)


# Learning


def test_both_passes_are_trained_and_the_second_one_teaches_the_first_nothing() -> None:
    method, network, batch = begin()
    draws = method.draw(network, batch, 1, 0)
    made, terms = passes(network, batch, draws), method.loss(network, batch, draws).terms
    z_0 = network.embedding(batch.target)
    real, counts = batch.target_mask, batch.target_mask.sum(1)
    means = [((z - z_0).square().mean(-1) * real).sum(1) / counts for z in made.z_0_hat]
    torch.testing.assert_close(terms["mse"].mean(), (means[0] + means[1]).mean())
    logits = network.embedding.logits(z_0).log_softmax(-1).gather(-1, batch.target[..., None])[..., 0]
    torch.testing.assert_close(terms["token"].mean(), -((logits * real).sum(1) / counts).mean())
    assert terms["token"].weight == 2.0
    assert len(made.z_0_hat) == 2 and not torch.equal(*made.z_0_hat)
    first = torch.autograd.grad(made.z_0_hat[1].sum(), made.z_0_hat[0], allow_unused=True)
    assert first == (None,)


def test_without_self_conditioning_there_is_one_pass() -> None:
    method, network, batch = begin(self_conditioning=False)
    draws = method.draw(network, batch, 1, 0)
    assert len(passes(network, batch, draws).z_0_hat) == 1
    assert method.loss(network, batch, draws).terms["token"].weight == 1.0


def test_each_sentence_counts_equally_whatever_its_length() -> None:
    method, network, batch = begin()
    draws = method.draw(network, batch, 1, 0)
    whole = reduced(method.loss(network, batch, draws))
    alone = []
    for row in range(len(batch.target)):
        source, target = (side[row : row + 1] for side in (batch.source, batch.target))
        alone.append(reduced(method.loss(network, Batch.padded(source, target), draws.rows(slice(row, row + 1)))))
    torch.testing.assert_close(torch.stack(alone).mean(), whole, rtol=1e-4, atol=1e-5)


def test_the_length_loss_reaches_the_length_head_alone() -> None:
    method, network, batch = begin()
    method.loss(network, batch, method.draw(network, batch, 1, 0)).terms["length"].mean().backward()
    reached = {name for name, p in network.named_parameters() if p.grad is not None and bool(p.grad.any())}
    assert reached and all(name.startswith("length.") for name in reached)


def test_every_parameter_learns() -> None:
    method, network, batch = begin()
    reduced(method.loss(network, batch, method.draw(network, batch, 1, 0))).backward()
    idle = [name for name, p in network.named_parameters() if p.grad is None or not bool(p.grad.any())]
    assert idle == []


# Writing


DECODINGS = [
    Decoding(decoding_steps=4),
    Decoding(decoding_steps=1),
    Decoding(decoding_steps=4, sampler="ancestral"),
    Decoding(decoding_steps=4, sampler="ddim", eta=0.5, clamping=True),
    Decoding(decoding_steps=4, sampler="dpm_solver"),
    Decoding(decoding_steps=3, length_candidates=3, noise_candidates=2),
    Decoding(decoding_steps=2, length_candidates=200),
    Decoding(decoding_steps=4, early_stop=2, spacing="log_snr", decoding_noise_factor=2.0),
    Decoding(decoding_steps=3, sampler="ancestral", decoding_schedule="cosine", decoding_noise_factor=0.0),
    Decoding(decoding_steps=3, visited_steps="0.1,0.5,1", decoding_variance_preserving=True),
]


@pytest.mark.parametrize("decoding", DECODINGS, ids=str)
def test_every_option_of_the_decoding_writes_a_batch(decoding: Decoding) -> None:
    method, network, batch = begin()
    network.eval()
    calls: list[float] = []
    with torch.no_grad():
        found = method.decode(network, batch, decoding, 1, lambda t, now: calls.append(t))
        again = method.decode(network, batch, decoding, 1)
    assert torch.equal(found.tokens, again.tokens) and bool(torch.isfinite(found.score).all())
    assert len(found.score) == len(batch.target) * method.count(decoding)
    assert len(calls) == method.calls(decoding) and calls == sorted(calls, reverse=True) and calls[0] == 1.0


def test_lengths_are_the_most_likely_ones() -> None:
    _, network, batch = begin()
    memory = network.encode(batch.source, batch.source_mask)
    lengths = network.likely_lengths(memory, 5)
    offsets = lengths - memory.lengths[:, None] + network.max_positions // 2
    logits = memory.length_logits.gather(1, offsets)
    inside = (lengths > 2).all(1)
    assert bool((logits.diff(dim=1) <= 0)[inside].all()) and torch.equal(
        lengths[:, 0], network.likely_lengths(memory, 1)[:, 0]
    )
    target = network.length_target(memory.lengths, lengths[:, 0])
    assert torch.equal((memory.lengths + target - network.max_positions // 2)[inside], lengths[:, 0][inside])


@pytest.mark.parametrize("early_stop", [0, 3])
def test_early_stop_leaves_out_the_last_calls_and_reads_out_the_last_one_made(early_stop: int) -> None:
    method, network, batch = begin()
    seen: list[Candidates] = []
    with torch.no_grad():
        decoding = Decoding(decoding_steps=6, early_stop=early_stop)
        found = method.decode(network.eval(), batch, decoding, 1, lambda t, now: seen.append(now))
    assert len(seen) == method.calls(decoding) == 6 - early_stop
    assert torch.equal(found.tokens, seen[-1].tokens) and torch.equal(found.score, seen[-1].score)
    assert method.with_steps(decoding, 9) == Decoding(decoding_steps=9)


def test_where_the_steps_lie() -> None:
    def t(**options: Any) -> list[float]:
        return list(visited(Decoding(decoding_steps=4, least_level=0.1, **options)).t)

    assert t() == pytest.approx([0.325, 0.55, 0.775, 1.0])
    assert t(spacing="quadratic") == pytest.approx([0.1 + 0.9 * u * u for u in (0.25, 0.5, 0.75, 1.0)])
    levels = np.array(t(spacing="log_snr"))
    gaps = np.diff(np.log((1 - levels[:-1] ** 2) / levels[:-1] ** 2), prepend=math.log(99))
    np.testing.assert_allclose(gaps, gaps[0])
    assert levels[-1] == 1.0
    cosine = 1 - SCHEDULES["cosine"](np.array([0.25, 0.5, 0.75, 1.0]))
    assert t(decoding_schedule="cosine") == pytest.approx(cosine**0.5, abs=1e-6)
    assert t(visited_steps="0.2,0.5, 0.7,0.9") == [0.2, 0.5, 0.7, 0.9]


def test_the_noise_factor_changes_levels_and_not_what_is_told() -> None:
    plain, loud, preserving = (
        visited(Decoding(decoding_noise_factor=F, decoding_variance_preserving=vp))
        for F, vp in ((1.0, False), (3.0, False), (3.0, True))
    )
    assert plain.told == loud.told == preserving.told and (loud.start, preserving.start) == (3.0, 1.0)
    np.testing.assert_allclose(loud.noise, 3 * plain.noise)
    np.testing.assert_allclose(preserving.signal**2 + preserving.noise**2, 1.0)
    np.testing.assert_allclose(preserving.signal / preserving.noise, loud.signal / loud.noise)
    np.testing.assert_allclose(preserving.told_signal / preserving.told_noise, loud.told_signal / loud.told_noise)


def test_many_steps_of_every_spacing_are_distinct_and_end_at_1() -> None:
    for spacing, schedule in itertools.product(SPACINGS, [None, *SCHEDULES]):
        decoding: Any = {"spacing": spacing, "decoding_schedule": schedule, "sampler": "ancestral"}
        steps = visited(Decoding(decoding_steps=1000, **decoding))
        assert steps.t[-1] == 1.0 and steps.t[0] >= 0.001 and bool(np.all(np.diff(steps.t) >= 0))
        assert bool(np.all(np.isfinite(posterior(steps.signal, steps.noise))))


def test_cedi_tells_the_network_times_near_1_while_the_noise_falls() -> None:
    steps = visited(Decoding(decoding_steps=20))
    assert steps.told[-1] == steps.t[-1] == 1.0 and min(steps.told) == pytest.approx(0.9905)
    assert steps.t[0] == pytest.approx(0.001 + 0.999 / 20)


TEXTS = ["a b c d e", "a b c d e", "a b c x y", "p q r s t u", "p q r s t u v", "a b c d q"]


def test_the_choice_is_made_within_each_length_and_then_among_lengths() -> None:
    by_hand = []
    for texts in (TEXTS[:3], TEXTS[3:]):
        means = [sum(sentence_bleu(text, o) for j, o in enumerate(texts) if j != i) for i, text in enumerate(texts)]
        by_hand.append(texts[means.index(max(means))])
    assert TEXTS[in_two_stages(TEXTS, 3, "13a")] == by_hand[0], "two are equally far apart: the first"
    assert in_two_stages(TEXTS, 6, "13a") == mbr_choice(TEXTS, "13a", as_hypothesis=True)


@given(st.lists(st.lists(st.sampled_from("abc"), max_size=7).map(" ".join), min_size=2, max_size=5))
def test_the_choice_is_by_corpus_bleu_of_one_sentence(texts: list[str]) -> None:
    """In which a text of fewer than four words has none."""
    scores = [
        sum(sacrebleu.corpus_bleu([text], [[other]]).score for j, other in enumerate(texts) if j != i)
        for i, text in enumerate(texts)
    ]
    assert scores[in_two_stages(texts, len(texts), "13a")] == pytest.approx(max(scores))


def test_the_choice_prefers_a_sentence_to_two_words() -> None:
    assert in_two_stages(["a b", "a b c x"], 1, "13a") == 1
    assert in_two_stages(["a b", "a b", "c"], 1, "13a") == 0, "all have none: the first"


@pytest.mark.parametrize(
    "values",
    [
        {"least_noise": 0.0},
        {"least_level": 1.0},
        {"cedi_end": 1.5},
        {"length_candidates": 70, "noise_candidates": 70},
        {"early_stop": 20},
        {"decoding_noise_factor": 0.0, "decoding_variance_preserving": True},
        *(
            {"visited_steps": steps, "decoding_steps": 3}
            for steps in ("0,0.5,1", "0.5,0.2,1", "0.5,1", "a", "0.1,nan,1")
        ),
        {"visited_steps": "0.1,0.5,1.5", "decoding_steps": 3},
    ],
    ids=str,
)
def test_values_that_no_run_can_have_are_refused_by_name(values: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"option {next(iter(values))}|option noise_candidates"):
        config(**values).method.check()


def test_the_released_recipe_has_options_that_there_are() -> None:
    recipe = config(**AS_RELEASED)
    recipe.method.check()
    assert recipe.method.network.model_dim == 512  # type: ignore[attr-defined]


def test_what_is_no_number_in_a_time_stays_out() -> None:
    """Rows that are no sentences have t = 0; their loss does not count, and must be a number."""
    method, network, batch = begin()
    draws = dataclasses.replace(method.draw(network, batch, 1, 0), t=torch.zeros(len(batch.target)))
    assert isinstance(draws, Draws)
    assert math.isfinite(float(reduced(method.loss(network, batch, draws)).detach()))
