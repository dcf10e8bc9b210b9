"""MDLM: its masks and its bound in closed form, unmasking by certainty and by chance."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from parallel import method, network, pairs, resumes
from torch import Tensor

from core.config import RunConfig, with_values
from core.discrete.decoding import Chance, framed, predictor
from core.discrete.mask_predict import Pass, Passes, mask_predict, unmask_by_chance
from core.errors import UserError
from core.methods.mdlm import MDLM, Draws, drawn
from core.methods.mdlm_options import AS_RELEASED
from core.text.batches import Batch
from core.text.tokenizer import BOS, EOS, PAD, UNK
from core.training.step import reduced


def mdlm(**values: Any) -> MDLM:
    made = method("mdlm", **values)
    assert isinstance(made, MDLM)
    return made


def test_the_released_recipe_is_options_and_others_are_refused() -> None:
    base = with_values(RunConfig(), {"method": "mdlm"})
    with_values(base, AS_RELEASED).method.check()
    for name, value in (("least_time", 0.0), ("passes", 0), ("temperature", -1.0), ("least_length", 1)):
        with pytest.raises(UserError, match=f"option {name}"):
            with_values(base, {name: value}).method.check()


# Noise


@given(st.integers(1, 60), st.integers(0, 10**6))
def test_times_are_spread_evenly_over_a_batch(rows: int, seed: int) -> None:
    batch = Batch.padded(*(framed(torch.full((rows,), 4), 5),) * 2)
    t = drawn(batch, 1e-3, torch.Generator().manual_seed(seed)).t
    assert bool(((t >= 1e-3) & (t <= 1)).all())
    share = (t - 1e-3) / (1 - 1e-3) * rows
    assert bool(((share.sort().values - torch.arange(rows) - 0.5).abs() < 0.5 + 1e-3).all())


def test_words_alone_are_masked_with_their_times_probability() -> None:
    made, model = mdlm(), network(mdlm())
    target = framed(torch.full((1000,), 30), 5)
    t = torch.linspace(0.1, 1, 10).repeat_interleave(100)
    given, places = made.masked(model, target, Draws(t, torch.rand(target.shape)))
    assert model.mask_type == 12 and given[places].eq(12).all()
    assert not bool((places & (target != 5)).any())
    share = places[:, 1:-1].float().view(10, -1).mean(1)
    torch.testing.assert_close(share, (1 - 1e-3) * torch.linspace(0.1, 1, 10), atol=0.03, rtol=0)


# The bound


def test_the_loss_is_the_cross_entropy_of_masked_words_over_t() -> None:
    batch = pairs()
    for weighting in ("bound", "none"):
        made = mdlm(weighting=weighting)
        model = network(made)
        draws = made.draw(model, batch, 1, 0)
        given, places = made.masked(model, batch.target, draws)
        memory = model.encode(batch.source, batch.source_mask)
        log_p = model.embedding.logits(model.states(given, memory)).log_softmax(-1)
        total, words = torch.zeros(()), int((batch.target > UNK).sum())
        for i, j in places.nonzero().tolist():
            weight = 1 / draws.t[i] if weighting == "bound" else 1.0
            total = total - weight * log_p[i, j, batch.target[i, j]]
        length = model.length_losses(memory, batch.target_mask.sum(1)).mean()
        torch.testing.assert_close(reduced(made.loss(model, batch, draws)), total / words + 0.1 * length)


def test_of_a_network_that_knows_nothing_the_bound_is_the_log_of_the_types() -> None:
    """Whatever is masked it says 1 / V: its bound, averaged over times and masks, is log V but for eps."""
    made = mdlm()
    model = network(made, positions=64)
    with torch.no_grad():
        model.embedding.table.zero_()
        batch = pairs(rows=40, source=60, target=60)
        found = [made.loss(model, batch, made.draw(model, batch, 1, step)).terms["token"].mean() for step in range(100)]
    assert float(torch.stack(found).mean()) == pytest.approx(torch.tensor(12.0).log().item(), rel=0.03)


def test_held_out_losses_are_the_same_again() -> None:
    made, batches = mdlm(), [pairs(), pairs(seed=5)]
    model = network(made)
    with torch.no_grad():
        first, again = made.held_out(model, batches), made.held_out(model, batches)
    assert first == again and set(first) == {"val/nll", "val/bound"}


# Decoding


def passes(made: MDLM, steps: int, by_chance: bool, removal: bool = False) -> tuple[list[Pass], Tensor]:
    """All passes of a decoding, and the tokens it ends with."""
    model, batch, seen = network(made), pairs(rows=4), list[Pass]()
    memory, chance = model.encode(batch.source, batch.source_mask), Chance.of(batch, 1)
    lengths = torch.tensor([12, 11, 3, 20])
    reader = made.reader(model, made.options.decoding, chance)
    with torch.no_grad():
        predict = predictor(model, memory, lengths)
        parts = predict, reader, lengths, model.mask_type
        if by_chance:
            tokens, _ = unmask_by_chance(*parts, steps, chance, seen.append, removal)
        else:
            tokens, _ = mask_predict(*parts, Passes(steps, keep=True), seen.append)
    return seen, tokens


@pytest.mark.parametrize("steps", [1, 3, 10, 40])
def test_the_surest_words_are_written_first_and_stay(steps: int) -> None:
    seen, tokens = passes(mdlm(), steps, by_chance=False)
    for done in seen:
        open_ = done.given == 12
        assert done.left[~open_].equal(done.given[~open_])
        share = torch.tensor(1 - (done.index + 1) / steps)
        for row, n in enumerate((10, 9, 1, 18)):
            assert int((done.left[row] == 12).sum()) == int(torch.tensor(float(n)) * share)
    assert not bool((tokens == 12).any()) and len(seen) == steps


@pytest.mark.parametrize("steps", [1, 3, 10, 40])
def test_by_chance_all_masks_become_words_that_stay(steps: int) -> None:
    seen, tokens = passes(mdlm(temperature=1.0), steps, by_chance=True)
    for done in seen:
        open_ = done.given == 12
        assert done.left[~open_].equal(done.given[~open_])
    assert not bool((tokens == 12).any()) and len(seen) == steps


@pytest.mark.parametrize("removal", [False, True])
def test_the_only_pass_draws_its_words_as_the_released_one_does_or_takes_the_likeliest(removal: bool) -> None:
    (done, *rest), tokens = passes(mdlm(temperature=1.0), 1, by_chance=True, removal=removal)
    likeliest = passes(mdlm(), 1, by_chance=True)[1]
    assert not rest and tokens.equal(done.left) and tokens.equal(likeliest) != removal


def test_masks_that_are_left_become_the_likeliest_words_by_a_call_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.discrete.mask_predict.LAST_TIME", 0.5)
    for temperature in (0.0, 1.0):
        seen, tokens = passes(mdlm(temperature=temperature), 4, by_chance=True, removal=True)
        assert len(seen) == 5 and bool((seen[3].left == 12).any()) and not bool((tokens == 12).any())
        with torch.no_grad():
            made = mdlm()
            found, _ = made.reader(network(made), made.options.decoding, Chance(torch.Generator()))(
                seen[4].states, seen[4].given == 12
            )
        assert tokens.equal(torch.where(seen[4].given == 12, found, seen[4].given))


def test_masks_become_words_evenly_over_the_steps() -> None:
    made, N = mdlm(), 400
    model = network(made)
    batch = Batch.padded(torch.full((N, 3), 5), torch.full((N, 22), 5))
    counts: Counter[int] = Counter()

    def count(done: Pass) -> None:
        counts[done.index] = int(((done.given == 12) & (done.left != 12)).sum())

    chance, lengths = Chance.of(batch, 1), torch.full((N,), 22)
    with torch.no_grad():
        memory = model.encode(batch.source, batch.source_mask)
        reader = made.reader(model, made.options.decoding, chance)
        unmask_by_chance(predictor(model, memory, lengths), reader, lengths, 12, 5, chance, count)
    assert all(abs(counts[index] / (N * 20) - 0.2) < 0.02 for index in range(5))


@pytest.mark.parametrize("values", [{}, {"unmasking": "ancestral", "temperature": 1.0}, {"own_mask": False}])
def test_words_alone_are_written_and_the_same_again(values: dict[str, Any]) -> None:
    made, batch = mdlm(length_candidates=3, **values), pairs(rows=4)
    model = network(made)
    with torch.no_grad():
        found = [made.decode(model, batch, made.options.decoding, 1) for _ in range(2)]
    assert found[0].tokens.equal(found[1].tokens) and len(found[0].tokens) == 12
    for ids in found[0].ids():
        assert ids[0] == BOS and ids[-1] == EOS and not {BOS, PAD, EOS, 12} & set(ids[1:-1])
        assert "own_mask" not in values or UNK not in ids


# Training


def test_a_broken_off_training_goes_on_bit_for_bit(tmp_path: Path) -> None:
    assert resumes("mdlm", tmp_path)
