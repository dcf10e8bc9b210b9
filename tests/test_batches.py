"""Encoded sentences and their batches."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UserError
from core.text import batches, tokenizer
from core.text.batches import BatchStream, Encoded, Ragged, decode_batches, encode
from core.text.corpus import Corpus
from core.text.tokenizer import BOS, EOS, PAD

PAIRS = [("b a a", "a c"), ("b", "c"), ("c c c c c c", "a"), ("a", "b b b b b b b"), ("c a", "a b c")]
LENGTHS = st.lists(st.tuples(st.integers(1, 40), st.integers(2, 40)), min_size=1, max_size=80)


def words() -> tokenizer.Tokenizer:
    return tokenizer.build(Corpus("x", PAIRS, [], [], "0", {}, True), 0)


def of_lengths(lengths: list[tuple[int, int]]) -> Encoded:
    """Pairs of these lengths; source i is i + 4 throughout, so that it can be told from the others."""
    source = Ragged.of([[4 + row] * length for row, (length, _) in enumerate(lengths)])
    target = Ragged.of([[4 + row] * length for row, (_, length) in enumerate(lengths)])
    return Encoded(source, target, np.arange(len(lengths)))


def natural(count: int) -> Encoded:
    """Lengths as in text: log-normal, the target's near the source's."""
    rng = np.random.default_rng(1)
    source = np.clip(np.exp(rng.normal(2.6, 0.45, count)), 2, 100)
    target = np.clip(source * np.exp(rng.normal(0, 0.2, count)), 2, 100)
    return of_lengths(list(zip(source.astype(int).tolist(), target.astype(int).tolist(), strict=True)))


def test_ids_have_their_special_tokens() -> None:
    made = encode(PAIRS, words(), 128)
    a, b, c = words().encode("a b c")
    assert made.source[0].tolist() == [b, a, a, EOS]
    assert made.target[0].tolist() == [BOS, a, c, EOS]
    assert made.kept.tolist() == [0, 1, 2, 3, 4] and made.dropped == {}


def test_overlong_pairs_are_dropped_and_counted() -> None:
    """The limit counts special tokens: the third source has 7 ids, the fourth target 9."""
    made = encode(PAIRS, words(), 6, "test")
    assert made.kept.tolist() == [0, 1, 4]
    assert made.dropped == {"test: source longer than 6 tokens": 1, "test: target longer than 6 tokens": 1}
    assert encode(PAIRS, words(), 7).kept.tolist() == [0, 1, 2, 4]
    with pytest.raises(UserError, match="valid: none of the 5 pairs fits into 2 tokens; raise max_length"):
        encode(PAIRS, words(), 2, "valid")


def test_a_batch_is_padded_on_the_right() -> None:
    made = encode(PAIRS, words(), 128)
    batch = made.batch([1, 0])
    a, b, c = words().encode("a b c")
    assert batch.source.tolist() == [[b, EOS, PAD, PAD], [b, a, a, EOS]]
    assert batch.target.tolist() == [[BOS, c, EOS, PAD], [BOS, a, c, EOS]]
    assert batch.source_mask.tolist() == [[True, True, False, False], [True] * 4]
    assert batch.target_mask.tolist() == [[True, True, True, False], [True] * 4]
    assert batch.target_tokens == 7 and batch.source.dtype == batch.target.dtype == torch.int64
    assert batch.to("cpu").target.equal(batch.target)


@given(LENGTHS)
def test_real_is_the_masked_selection_with_its_gradient(lengths: list[tuple[int, int]]) -> None:
    batch = of_lengths(lengths).batch(range(len(lengths)))
    values = torch.randn(*batch.target.shape, 3, requires_grad=True)
    assert batch.real(values).equal(values[batch.target_mask])
    assert batch.real(batch.target).equal(batch.target[batch.target_mask])
    batch.real(values).sum().backward()
    assert values.grad is not None and values.grad[..., 0].equal(batch.target_mask.float())


@given(LENGTHS, st.integers(1, 200), st.integers(-3, 2**70), st.integers(0, 5))
def test_an_epoch_holds_each_pair_once_within_the_budget(
    lengths: list[tuple[int, int]], budget: int, seed: int, epoch: int
) -> None:
    encoded = of_lengths(lengths)
    made = BatchStream(encoded, budget, seed).epoch(epoch)
    assert sorted(index for batch in made for index in batch.tolist()) == list(range(len(lengths)))
    for rows in made:
        batch = encoded.batch(rows)
        assert len(rows) == 1 or max(batch.source.numel(), batch.target.numel()) <= budget


@given(LENGTHS, st.integers(1, 200), st.lists(st.integers(0, 500), min_size=1, max_size=8))
def test_any_step_can_be_looked_at_in_any_order(lengths: list[tuple[int, int]], budget: int, steps: list[int]) -> None:
    """at(step) is the step's place in its epoch, whatever was asked before; epochs have equally many batches."""
    encoded = of_lengths(lengths)
    stream = BatchStream(encoded, budget, 7)
    for step in steps:
        epoch, position = divmod(step, len(stream))
        plan = BatchStream(encoded, budget, 7).epoch(epoch)
        assert len(plan) == len(stream)
        assert stream.at(step).source.equal(encoded.batch(plan[position]).source)
        assert stream.at(step).target.equal(encoded.batch(plan[position]).target)


def test_seeds_and_epochs_differ_and_repeat() -> None:
    encoded = natural(5000)
    plans = [[b.tolist() for b in BatchStream(encoded, 256, s).epoch(e)] for s, e in [(1, 0), (1, 1), (2, 0), (1, 0)]]
    assert plans[0] == plans[3] and plans[0] != plans[1] and plans[0] != plans[2]
    as_sets = [{frozenset(batch) for batch in plan} for plan in plans]
    assert len(as_sets[0] & as_sets[1]) < 0.5 * len(as_sets[0])  # the batches themselves differ, not only their order


def test_recorded_order() -> None:
    """Recorded once: a run that was started with another version of numpy resumes with the same batches."""
    assert batches.permutation(8, 1, 2, 3).tolist() == [1, 3, 7, 5, 2, 0, 4, 6]


@pytest.mark.parametrize("budget", [512, 1024, 4096])
def test_little_padding(budget: int) -> None:
    stream = BatchStream(natural(20000), budget, 1)
    for side in (stream.encoded.source, stream.encoded.target):
        padded = sum(len(batch) * int(side.lengths[batch].max()) for batch in stream.epoch(0))
        assert 1 - len(side.values) / padded < 0.1
    tokens = [stream.at(step).target.numel() for step in range(len(stream))]
    assert np.median(tokens) > 0.75 * budget


def test_a_budget_of_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="batch_tokens: 0"):
        BatchStream(natural(3), 0, 1)


@given(LENGTHS, st.integers(1, 200))
def test_decoding_batches_hold_all_in_order_of_source_length(lengths: list[tuple[int, int]], budget: int) -> None:
    encoded = of_lengths(lengths)
    made = list(decode_batches(encoded, budget))
    order = [index for indices, _ in made for index in indices]
    assert sorted(order) == list(range(len(lengths)))
    assert [lengths[i][0] for i in order] == sorted((source for source, _ in lengths), reverse=True)
    for indices, batch in made:
        assert batch.source[:, 0].tolist() == [4 + index for index in indices]
        assert len(indices) == 1 or batch.source.numel() <= budget


@given(LENGTHS, st.integers(1, 200))
def test_decoding_batches_do_not_look_at_the_references(lengths: list[tuple[int, int]], budget: int) -> None:
    other = [(source, 2 + (7 * target) % 30) for source, target in lengths]
    one, two = ([indices for indices, _ in decode_batches(of_lengths(x), budget)] for x in (lengths, other))
    assert one == two


def test_a_subset_keeps_its_order_and_origin() -> None:
    made = encode(PAIRS, words(), 6).subset([2, 0])
    assert made.kept.tolist() == [4, 0] and len(made) == 2
    assert made.source[0].tolist() == [*words().encode("c a"), EOS]
    assert len(made.subset(range(0))) == 0


def test_counts_are_those_of_a_side_and_its_special_tokens() -> None:
    made, size = encode(PAIRS, words(), 128), len(words())
    for side, ragged, special in ((0, made.source, [EOS]), (1, made.target, [BOS, EOS])):
        counted = [0] * size
        for pair in PAIRS:
            for index in [*special, *words().encode(pair[side])]:
                counted[index] += 1
        assert ragged.counts(size).tolist() == counted


def test_target_types_are_those_that_occur_in_targets() -> None:
    made = encode([("c a", "b"), ("a", "b c")], words(), 128)
    expected = sorted({BOS, EOS, *words().encode("b c")})
    assert BatchStream(made, 64, seed=1).target_types.tolist() == expected
