"""CMLM: its masks, its loss, mask-predict against plain loops, the recording of the released code."""

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
from core.discrete.decoding import framed, predictor
from core.discrete.mask_predict import Pass, Passes, mask_predict
from core.methods.cmlm import CMLM, Draws
from core.methods.cmlm_options import AS_RELEASED, MASK_PREDICT
from core.released import replay
from core.text.batches import Batch
from core.text.tokenizer import BOS, EOS, PAD, UNK
from core.training.step import reduced

RECORDED = Path(__file__).parent / "golden" / "cmlm_a.npz"
ORIGINAL = {"form": "mask_predict", "own_mask": True}


def cmlm(**values: Any) -> CMLM:
    made = method("cmlm", **values)
    assert isinstance(made, CMLM)
    return made


# The released code


def test_the_recording_is_reproduced() -> None:
    report = replay.replay(RECORDED)
    assert report["tokens_identical"] and report["largest"] < 1e-5
    assert len(report["differences"]) == 17


@pytest.mark.parametrize(
    ("array", "noticed"),
    [("decode_step_filled", "decode_step_filled"), ("prev_target", "prev_target"), ("decode_best", "decode_best")],
)
def test_a_decision_that_differs_is_named(array: str, noticed: str, tmp_path: Path) -> None:
    with np.load(RECORDED) as file:
        case = dict(file)
    case[array] = case[array] + (case[array] > 3) + (array == "decode_best")
    np.savez(tmp_path / "other.npz", **case)
    report = replay.replay(tmp_path / "other.npz")
    assert not report["tokens_identical"] and noticed in report["different"]


def test_the_report_names_the_decisions_that_agree() -> None:
    assert {"word_mask", "decode_step_argmax", "decode_best", "decode_tokens"} <= set(
        replay.replay(RECORDED)["identical"]
    )


def test_sources_padded_on_the_left_are_the_same(tmp_path: Path) -> None:
    with np.load(RECORDED) as file:
        case = dict(file)
    for row, length in enumerate(case["src_lengths"]):
        shift = case["src"].shape[1] - length
        case["src"][row] = np.roll(case["src"][row], shift)
        case["encoder_out"][:, row] = np.roll(case["encoder_out"][:, row], shift, axis=0)
    np.savez(tmp_path / "left.npz", **case)
    report = replay.replay(tmp_path / "left.npz")
    assert report["tokens_identical"] and report["largest"] < 1e-5


@pytest.mark.parametrize("recipe", [AS_RELEASED, MASK_PREDICT])
def test_the_released_recipes_are_options(recipe: dict[str, Any]) -> None:
    made = with_values(with_values(RunConfig(), {"method": "cmlm"}), recipe)
    made.method.check()


def test_the_originals_lengths_and_scores_are_without_bos() -> None:
    """Its least length is 2, which is 3 with BOS; it divides by its length."""
    assert (MASK_PREDICT["least_length"], MASK_PREDICT["count_ends"]) == (3, False)
    assert (AS_RELEASED["least_length"], AS_RELEASED["count_ends"]) == (2, True)
    made = cmlm(predict_special=True, **ORIGINAL)
    tokens = torch.tensor([[BOS, 5, PAD, 6, EOS, PAD], [BOS, 5, 5, 5, 5, EOS]])
    log_p = torch.tensor([[0.0, -1.0, -2.0, -3.0, -4.0, -9.0], [0.0, -1.0, -1.0, -1.0, -1.0, -1.0]])
    found = made.written(tokens, torch.tensor([5, 6]), log_p, made.options.decoding)
    assert found.score.tolist() == [-10 / 4, -1.0]


# Masks


@given(st.lists(st.integers(0, 12), min_size=1, max_size=5), st.integers(0, 10**6), st.booleans())
def test_so_many_words_are_masked(words: list[int], seed: int, original: bool) -> None:
    made = cmlm(**ORIGINAL) if original else cmlm()
    model, lengths = network(made, spread=0.0), torch.tensor(words) + 2
    target, drawn = framed(lengths, 5), torch.Generator().manual_seed(seed)
    draws = Draws(torch.rand(target.shape, generator=drawn), torch.rand(len(words), generator=drawn))
    masked = made.masked(model, target, draws) == model.mask_type
    may = (target == 5) | (original & (target == EOS))
    assert not (masked & ~may).any()
    for row, n in enumerate(words):
        most = max(n, 1) if original else n
        assert int(masked[row].sum()) == min(int(np.float32(most) * np.float32(draws.count[row]) + 1), n + original)


def test_the_mask_is_a_type_of_its_own_or_unk() -> None:
    for own, expected in ((False, UNK), (True, 12)):
        model = network(cmlm(own_mask=own))
        assert model.mask_type == expected and len(model.embedding.output()) == 12


# The loss


def log_p(model: Any, batch: Batch, given: Tensor) -> Tensor:
    states = model.states(given, model.encode(batch.source, batch.source_mask))
    return model.embedding.logits(states).log_softmax(-1)


@pytest.mark.parametrize("values", [{}, ORIGINAL, {"length_offset": False}])
def test_the_loss_is_that_of_the_masked_tokens_and_of_the_length(values: dict[str, Any]) -> None:
    made, batch = cmlm(**values), pairs()
    model = network(made)
    draws = made.draw(model, batch, 1, 0)
    given = made.masked(model, batch.target, draws)
    log, masked = log_p(model, batch, given), given != batch.target
    token = [0.9 * -log[i, j, batch.target[i, j]] - 0.1 * log[i, j].mean() for i, j in masked.nonzero().tolist()]
    memory = model.encode(batch.source, batch.source_mask)
    classes = batch.target_mask.sum(1) + (128 - memory.mask.sum((1, 2, 3)) if model.length_offset else 0)
    length = -memory.length_logits.log_softmax(-1).gather(1, classes[:, None])
    if "form" in values:
        wanted = (torch.stack(token).sum() + 0.1 * length.sum()) / masked.sum()
    else:
        wanted = torch.stack(token).mean() + 0.1 * length.mean()
    made_loss = made.loss(model, batch, draws)
    torch.testing.assert_close(reduced(made_loss), wanted)
    torch.testing.assert_close(made_loss.watched()["length"].mean(), length.mean())


def test_a_true_unk_of_the_target_is_masked_already() -> None:
    batch = pairs()
    batch.target[0, 2] = UNK
    made = cmlm()
    model = network(made)
    given = made.masked(model, batch.target, Draws(torch.ones(batch.target.shape), torch.zeros(3)))
    terms = made.loss(model, batch, made.draw(model, batch, 1, 0)).terms
    assert given[0, 2] == UNK and int((given == UNK).sum()) >= 3 and terms["token"].count() >= 4


# Decoding


@torch.no_grad()
def by_loops(made: CMLM, model: Any, batch: Batch, row: int, length: int) -> tuple[list[int], list[float]]:
    """Mask-predict of one hypothesis, as the descriptions of the two released forms put it."""
    config, original = made.options.decoding, made.with_end
    one = Batch.padded(batch.source[row : row + 1], batch.target[row : row + 1])
    tokens = [BOS, *[model.mask_type] * (length - 2), model.mask_type if original else EOS]
    scores, places = [0.0] * length, range(1, length if original else length - 1)
    barred = {BOS, PAD} | ({UNK} if model.mask_type == UNK else set()) | (set() if original else {EOS})
    barred = set() if config.predict_special else barred
    S = config.passes
    for s in range(S):
        before = list(tokens)
        logits = model.embedding.logits(model.states(torch.tensor([tokens]), model.encode(one.source, one.source_mask)))
        logits[0, :, list(barred)] = -torch.inf
        best, types = logits.log_softmax(-1)[0].max(-1)
        for place in range(length):
            if tokens[place] == model.mask_type:
                tokens[place], scores[place] = int(types[place]), float(best[place])
        if s + 1 < S:
            n = length - 1 if original else sum(token != PAD for token in tokens) - 2
            k = int(np.float32(n) * np.float32(1 - (s + 1) / S))
            for place in sorted(places, key=lambda place: scores[place])[: max(k, 1) if original else k]:
                tokens[place], scores[place] = model.mask_type, 0.0
        if config.stop_when_same and tokens == before:
            break
    return tokens, scores


@pytest.mark.parametrize("original", [True, False])
def test_pad_that_was_written_is_a_token_for_the_original_alone(original: bool) -> None:
    """Its length is that at the start; fairseq's counts what is no PAD."""
    seen: list[int] = []

    def predict(tokens: Tensor, t: Tensor | None) -> Tensor:
        return torch.zeros(*tokens.shape, 1)

    def reader(states: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        return torch.full(places.shape, PAD), -torch.ones(places.shape)

    def count(done: Pass) -> None:
        seen.append(int((done.left == 12).sum()))

    read: Any = reader
    mask_predict(predict, read, torch.tensor([9]), 12, Passes(4, with_end=original), count)
    assert seen == ([6, 4, 2, 0] if original else [0, 0, 0, 0])


VARIANTS = [
    {"passes": 5},
    {"passes": 1},
    {"passes": 11, "stop_when_same": True, "predict_special": True, "count_ends": True, "least_length": 2},
    {"passes": 5, "predict_special": True, "own_mask": True},
    {"passes": 4, **ORIGINAL},
    {"passes": 10, "predict_special": True, "count_ends": True, **ORIGINAL},
    {"passes": 10, "predict_special": True, **ORIGINAL},
]


@pytest.mark.parametrize("values", VARIANTS)
@pytest.mark.parametrize("seed", [1, 2])
def test_mask_predict_is_that_of_plain_loops(values: dict[str, Any], seed: int) -> None:
    made = cmlm(length_candidates=3, length_offset=False, **values)
    model, batch = network(made, seed=seed), pairs(rows=4)
    with torch.no_grad():
        found = made.decode(model, batch, made.options.decoding, 1)
    for row, ids in enumerate(found.ids()):
        tokens, scores = by_loops(made, model, batch, row // 3, len(ids))
        assert ids == tokens
        places = range(len(ids)) if made.options.decoding.count_ends else range(1, len(ids) - (not made.with_end))
        kept = [scores[place] for place in places if ids[place] != PAD or made.with_end]
        assert float(found.score[row]) == pytest.approx(sum(kept) / max(len(kept), 1), rel=1e-4, abs=1e-6)


def test_stopping_where_nothing_changes_may_leave_masks_and_the_plain_decoding_does_not() -> None:
    released = {"passes": 11, "stop_when_same": True, "predict_special": True}
    left = []
    for values in (released, {"passes": 11}):
        made = cmlm(**values)
        found = [made.decode(network(made, seed=s), pairs(rows=6), made.options.decoding, 1) for s in range(8)]
        left.append(sum(int((one.tokens == UNK).sum()) for one in found))
    assert left[0] > 0 and left[1] == 0


@pytest.mark.parametrize("values", [{}, {"predict_special": True, "stop_when_same": True}, ORIGINAL])
def test_a_sentence_is_written_as_it_is_alone(values: dict[str, Any]) -> None:
    made = cmlm(length_candidates=2, **values)
    model, batch = network(made), pairs(rows=4)
    with torch.no_grad():
        together = made.decode(model, batch, made.options.decoding, 1)
        for row in range(4):
            real = batch.source_mask[row]
            one = Batch.padded(batch.source[row : row + 1, real], batch.target[row : row + 1])
            alone = made.decode(model, one, made.options.decoding, 1)
            assert alone.ids() == together.ids()[2 * row : 2 * row + 2]


def test_lengths_lie_around_the_likeliest_or_are_the_likeliest() -> None:
    for values, likely in (({"length_offset": False}, 1), ({"length_offset": False, **ORIGINAL}, 5)):
        made = cmlm(length_candidates=5, least_length=2, **values)
        model, batch = network(made), pairs()
        memory = model.encode(batch.source, batch.source_mask)
        lengths = made.lengths(model, memory, made.options.decoding).view(3, 5)
        best = memory.length_logits.topk(likely).indices
        wanted = best if likely == 5 else best + torch.arange(-2, 3)
        assert lengths.equal(wanted.clamp(2, 24))
        assert "form" not in values or not bool((best == 0).any())


def test_each_pass_is_shown() -> None:
    made = cmlm(passes=4)
    model, batch = network(made), pairs()
    seen: list[tuple[float, Tensor]] = []
    with torch.no_grad():
        found = made.decode(model, batch, made.options.decoding, 1, lambda t, now: seen.append((t, now.tokens)))
    assert [t for t, _ in seen] == [1.0, 0.75, 0.5, 0.25] and seen[-1][1].equal(found.tokens)


def test_parts_of_a_batch_are_as_the_whole() -> None:
    made = cmlm()
    model, batch = network(made, positions=64), pairs(rows=12, source=30, target=40)
    memory, lengths = model.encode(batch.source, batch.source_mask), batch.target_mask.sum(1).flip(0) + 20
    tokens = framed(lengths, 5)
    whole, parts = model.states(tokens, memory), predictor(model, memory, lengths)(tokens, None)
    real = tokens != PAD
    torch.testing.assert_close(parts[real], whole[real])


# Training


@pytest.mark.parametrize("values", [{}, ORIGINAL])
def test_a_broken_off_training_goes_on_bit_for_bit(values: dict[str, Any], tmp_path: Path) -> None:
    assert resumes("cmlm", tmp_path, **values)
