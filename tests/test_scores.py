"""Scores: agreement with the reference packages, closed forms, and the choice by BLEU-MBR."""

import math

import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UserError
from core.scores import bleu_of, mbr_choice, score, sentence_bleu

words = st.sampled_from(["a", "b", "c", "the", "Haus,", "3.5", "x-y", "&amp;", "ß", "end."])
texts = st.lists(words, max_size=9).map(" ".join)

HYPOTHESES = ["the cat sat on the mat", "a dog barks loudly", ""]
REFERENCES = ["the cat sat on the mat", "the dog barked loudly", "it rains"]


@given(texts, texts)
def test_sentence_bleu_is_sacrebleus(hypothesis: str, reference: str) -> None:
    assert sentence_bleu(hypothesis, reference) == pytest.approx(
        sacrebleu.sentence_bleu(hypothesis, [reference]).score, abs=1e-9
    )


@given(st.text(max_size=30), st.text(max_size=30))
def test_sentence_bleu_is_sacrebleus_on_any_text(hypothesis: str, reference: str) -> None:
    assert sentence_bleu(hypothesis, reference) == pytest.approx(
        sacrebleu.sentence_bleu(hypothesis, [reference]).score, abs=1e-9
    )


def test_sentence_bleu_by_hand() -> None:
    # "a b c d" against "a b x d": matches 3, 1, 0, 0 of 4, 3, 2, 1; the last two are smoothed to 1/2 and 1/4.
    by_hand = 100 * (3 / 4 * 1 / 3 * (1 / 2) / 2 * (1 / 4) / 1) ** 0.25
    assert sentence_bleu("a b c d", "a b x d") == pytest.approx(by_hand)
    # One token of two: brevity penalty exp(1 - 2), only unigrams count.
    assert bleu_of([1, 0, 0, 0], 1, 2) == pytest.approx(100 * math.exp(-1))


def slow_choice(candidates: list[str]) -> int:
    """BLEU-MBR as its definition reads: one sacreBLEU call for each ordered pair."""
    means = []
    for i, judged in enumerate(candidates):
        others = candidates[:i] + candidates[i + 1 :]
        found = [sacrebleu.sentence_bleu(other, [judged]).score for other in others]
        means.append(sum(found) / max(len(found), 1))
    return next(i for i, mean in enumerate(means) if mean >= max(means) - 1e-9)


@given(st.lists(texts, min_size=1, max_size=6))
def test_mbr_choice_is_the_definition(candidates: list[str]) -> None:
    assert mbr_choice(candidates) == slow_choice(candidates)


@pytest.mark.parametrize(
    ("candidates", "chosen"),
    [
        (["only"], 0),
        (["", ""], 0),
        (["", "a b", "a b"], 1),
        (["x y z", "a b c", "a b c", "q"], 1),
        (["a b c d e", "a b c d f", "z"], 0),
        (["a b", "a b", "a b"], 0),
    ],
)
def test_mbr_choice_takes_the_first_of_the_best(candidates: list[str], chosen: int) -> None:
    assert mbr_choice(candidates) == chosen


def test_candidates_are_judged_as_references() -> None:
    short, long = "a b", "a b c d"
    assert sentence_bleu(short, long) == pytest.approx(100 * math.exp(-1))  # full precision, half as long
    assert sentence_bleu(long, short) == pytest.approx(100 * (2 / 4 * 1 / 3 * 1 / 4 * 1 / 4) ** 0.25)  # 32
    assert mbr_choice([short, long]) == 1


def test_score_agrees_with_the_packages() -> None:
    found = score(HYPOTHESES, REFERENCES)
    bleu = sacrebleu.corpus_bleu(HYPOTHESES, [REFERENCES])
    assert found["bleu"] == bleu.score
    assert found["chrf"] == sacrebleu.corpus_chrf(HYPOTHESES, [REFERENCES]).score
    assert found["brevity_penalty"] == pytest.approx(math.exp(1 - 12 / 10))
    assert found["length_ratio"] == pytest.approx(10 / 12)
    assert found["sentences"] == 3


def test_rouge_by_hand() -> None:
    found = score(HYPOTHESES, REFERENCES)
    # Sentence 1 is right; sentence 2 shares "dog" and "loudly" of 4 and 4 words, and no pair; sentence 3 is empty.
    assert found["rouge1"] == pytest.approx((100 + 50 + 0) / 3)
    assert found["rouge2"] == pytest.approx((100 + 0 + 0) / 3)
    assert found["rougeL"] == pytest.approx((100 + 50 + 0) / 3)


def test_signatures_name_tokenizer_and_version() -> None:
    found = score(HYPOTHESES, REFERENCES)
    for part in ("nrefs:1", "case:mixed", "eff:no", "tok:13a", "smooth:exp", f"version:{sacrebleu.__version__}"):
        assert part in found["signature"].split("|")
    assert found["chrf_signature"].startswith("nrefs:1|case:mixed|eff:yes|nc:6|nw:0")


def test_the_best_of_several_references_counts() -> None:
    several = [["nothing alike", "the cat sat on the mat"], ["a dog barks loudly"], ["it rains"]]
    found = score(HYPOTHESES, several)
    assert found["rouge1"] == pytest.approx(200 / 3)
    streams: list[list] = [["nothing alike", "a dog barks loudly", "it rains"], ["the cat sat on the mat", None, None]]
    assert found["bleu"] == sacrebleu.corpus_bleu(HYPOTHESES, streams).score
    assert "nrefs:var" in found["signature"]


def test_perfect_and_empty_output() -> None:
    perfect = score(REFERENCES[:2], REFERENCES[:2])
    assert [perfect[k] for k in ("bleu", "chrf", "rouge1", "length_ratio")] == pytest.approx([100, 100, 100, 1])
    empty = score(["", ""], REFERENCES[:2])
    assert [empty[k] for k in ("bleu", "chrf", "rouge1", "rougeL", "brevity_penalty", "length_ratio")] == [0] * 6


@pytest.mark.parametrize(
    ("hypotheses", "references", "says"),
    [
        ([], [], "no hypotheses"),
        (["a"], ["a", "b"], "1 hypotheses against 2 references"),
        (["a", "b"], [["a"], []], "sentence 2 has no reference"),
    ],
)
def test_what_cannot_be_scored_is_said(hypotheses: list[str], references: list, says: str) -> None:
    with pytest.raises(UserError, match=says):
        score(hypotheses, references)
    with pytest.raises(UserError, match="no candidates"):
        mbr_choice([])
