"""Arms compared sentence by sentence: sacreBLEU's counts, its score, and the bootstrap over the test set."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from bootstrap import paired_bootstrap
from fake_runs import edit, write_study
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.significance import PairedTest, Result, _bootstrap_resample

from analysis import sentence_counts, tables
from analysis.load import load
from analysis.sentence_counts import chrf, chrf_statistics, streams, tokenizer_in
from analysis.sentences import bleu, compare, counts, sentence_note, statistics
from core.run_folder import read

WORDS = ["the", "a", "cat", "dog", "sat", "ran", "on", "under", "mat", "tree", "quickly", ".", ","]
texts = st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join)


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=6))
def test_bleu_of_the_counts_is_sacrebleus(pairs: list[tuple[str, str]]) -> None:
    """Also without any match, without matches of some order, and with empty or short sentences."""
    hypotheses, references = map(list, zip(*pairs, strict=True))
    expected = BLEU(force=True).corpus_score(hypotheses, [references]).score
    assert float(bleu(statistics(hypotheses, references).sum(axis=0))) == pytest.approx(expected, abs=1e-9)


@given(st.lists(st.tuples(texts, st.lists(texts, min_size=1, max_size=3)), min_size=1, max_size=5), st.booleans())
def test_bleu_and_chrf_against_several_references_are_sacrebleus(
    pairs: list[tuple[str, list[str]]], effective: bool
) -> None:
    hypotheses, groups = [one for one, _ in pairs], [group for _, group in pairs]
    found = BLEU(force=True, effective_order=effective).corpus_score(hypotheses, streams(groups)).score
    assert float(bleu(statistics(hypotheses, groups).sum(axis=0), effective)) == pytest.approx(found, abs=1e-9)
    found = CHRF().corpus_score(hypotheses, streams(groups)).score
    assert float(chrf(chrf_statistics(hypotheses, groups).sum(axis=0))) == pytest.approx(found, abs=1e-9)


def test_the_tokenizer_is_read_from_the_signature() -> None:
    assert tokenizer_in("nrefs:1|case:mixed|eff:no|tok:ja-mecab-0.996-IPA|smooth:exp|version:2.6.0") == "ja-mecab"
    assert tokenizer_in("tok:zh") == "zh" and tokenizer_in("") == tokenizer_in("nrefs:1") == "13a"


@pytest.mark.parametrize("metric", ["chrf", "rougeL", "own/exact"])
def test_sentences_are_compared_by_the_metric_of_the_study(metric: str, tmp_path: Path) -> None:
    """chrF from counts; ROUGE and one's own from the rows, where a sentence may be n/a."""
    path = written(tmp_path)
    edit(path / "study.json", metric=metric)
    for run in path.glob("*/scores.json"):
        rows = read(run.with_name("samples.jsonl"))
        groups = [[str(row["reference"])] for row in rows]
        each = [100.0 * (row["hypothesis"] == group[0]) for row, group in zip(rows, groups, strict=True)]
        value = CHRF().corpus_score([row["hypothesis"] for row in rows], streams(groups)).score
        if metric != "chrf":
            value = sum(each[1:]) / (len(each) - 1)
            key = metric if "/" in metric else f"sentence_{metric}"
            made = [row | {key: one} for row, one in zip(rows, [None, *each[1:]], strict=True)]
            run.with_name("samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made))
        edit(run, **{metric: value})
    study = load(path)
    frame, notes = compare(study)
    assert not notes and len(frame) == 10 and {metric, f"control_{metric}"} <= set(frame.columns)
    row = frame[(frame["arm"] == "F1") & (frame["seed"] == 1)].iloc[0]
    assert row["verdict"] == "lower"
    assert row["difference"] == pytest.approx(study.values(metric, "F1")[1] - study.values(metric, "F4")[1])
    name = {"chrf": "chrF", "rougeL": "ROUGE-L", "own/exact": "exact"}[metric]
    assert any(line.startswith(f"Sentences: {name} by paired") for line in tables.tabulate(study).lines)


def test_a_score_that_rows_do_not_hold_is_said(tmp_path: Path) -> None:
    path = written(tmp_path)
    edit(path / "study.json", metric="rougeL")
    frame, notes = compare(load(path))
    assert frame.empty and notes == [f"samples.jsonl has no ROUGE-L of each sentence ({said(notes)})"]


def said(notes: list[str]) -> str:
    return notes[0].partition("(")[2].removesuffix(")")


def test_bleu_by_hand() -> None:
    """the cat sat / the cat ran on: 2, 1, 0, 0 matches of 3, 2, 1, 0 n-grams: without 4-grams BLEU is 0."""
    table = statistics(["the cat sat", "a dog ran on mat"], ["the cat ran on", "a dog ran on mat"])
    assert table[0].tolist() == [3, 4, 2, 1, 0, 0, 3, 2, 1, 0]
    assert float(bleu(table[0])) == 0
    precisions = np.array([7 / 8, 5 / 6, 3 / 4, 2 / 2])
    assert float(bleu(table.sum(axis=0))) == pytest.approx(100 * np.exp(1 - 9 / 8) * precisions.prod() ** 0.25)


def written(tmp_path: Path, seeds: tuple[int, ...] = (1, 2), sentences: int = 80) -> Path:
    """A study whose samples are worse the further an arm's F is from 4, F3 being as good; scores.json agrees."""
    path = write_study(tmp_path, "noise_factor", seeds=seeds)
    rng = np.random.default_rng(0)
    references = [" ".join(rng.choice(WORDS, 8)) for _ in range(sentences)]
    wrong = {"F1": 0.6, "F2": 0.3, "F3": 0.1, "F4": 0.1, "F6": 0.1, "F8": 0.4}
    for run in sorted(path.glob("*/run.json")):
        share = wrong[json.loads(run.read_text())["arm"]]
        hypotheses = [" ".join(w if rng.random() > share else "x" for w in text.split()) for text in references]
        rows = [
            {"id": i, "reference": r, "hypothesis": h}
            for i, (r, h) in enumerate(zip(references, hypotheses, strict=True))
        ]
        (run.parent / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        edit(run.parent / "scores.json", bleu=BLEU(force=True).corpus_score(hypotheses, [references]).score)
    return path


def test_arms_are_compared_within_each_seed(tmp_path: Path) -> None:
    study = load(written(tmp_path))
    frame, notes = compare(study)
    assert not notes
    assert len(frame) == 5 * 2
    assert set(frame["sentences"]) == {80}
    assert set(frame.loc[frame["arm"].isin(["F1", "F2", "F8"]), "verdict"]) == {"lower"}
    row = frame[(frame["arm"] == "F3") & (frame["seed"] == 2)].iloc[0]
    assert row["difference_low"] < row["difference"] < row["difference_high"]
    assert row["difference"] == pytest.approx(study.values("bleu", "F3")[2] - study.values("bleu", "F4")[2])
    found, _ = counts(study)
    one, other = (study.scores.query("arm == @arm and seed == 2")["run"].iloc[0] for arm in ("F3", "F4"))
    alone = paired_bootstrap(found[one], found[other], bleu)
    assert (row["difference_low"], row["p"]) == (pytest.approx(alone.interval.low), pytest.approx(alone.p))
    assert frame.equals(compare(study)[0])


def test_the_bootstrap_agrees_with_sacrebleus_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`sacrebleu --paired-bs`: the same differences and intervals of its resamples; its p is of one tail."""
    monkeypatch.setenv("SACREBLEU_SEED", "12345")
    path = written(tmp_path, seeds=(1,), sentences=200)
    rows = {run.parent.name[:2]: read(run) for run in path.glob("*/samples.jsonl")}
    references = [[str(row["reference"]) for row in rows["F4"]]]
    systems: list[tuple[str, Sequence[str]]] = [
        (arm, [str(row["hypothesis"]) for row in rows[arm]]) for arm in ("F4", "F3", "F6", "F8")
    ]
    found = PairedTest(systems, {"BLEU": BLEU()}, references, test_type="bs", n_samples=2000)()[1]["BLEU"]
    drawn = {arm: resampled_by_sacrebleu(texts, references) for arm, texts in systems}
    frame = compare(load(path))[0].set_index("arm")
    for (arm, _), theirs in zip(systems[1:], found[1:], strict=True):
        assert isinstance(theirs, Result) and isinstance(found[0], Result)
        row, differences = frame.loc[arm], drawn[arm] - drawn["F4"]
        assert row["difference"] == pytest.approx(theirs.score - found[0].score)
        bounds = np.quantile(differences, [0.025, 0.975])
        assert (row["difference_low"], row["difference_high"]) == pytest.approx(tuple(bounds), abs=0.6)
        tail = min((differences <= 0).mean(), (differences >= 0).mean())
        assert row["p"] / 2 == pytest.approx(tail, abs=0.03)
        assert theirs.p_value < row["p"]


def resampled_by_sacrebleu(hypotheses: Sequence[str], references: list[list[str]]) -> np.ndarray:
    """BLEU on each of sacreBLEU's own resamples, which are the same for every system."""
    metric = BLEU(references=references)
    table = metric._extract_corpus_statistics(hypotheses, None)
    return np.array([score.score for score in _bootstrap_resample(table, metric, 2000)[1]])


def test_few_sentences_decide_nothing(tmp_path: Path) -> None:
    """Below 50 the percentile interval covers too rarely: 83% with 5 sentences, 90% with 10."""
    study = load(written(tmp_path, sentences=30))
    frame, notes = compare(study)
    row = frame[frame["arm"] == "F1"].iloc[0]
    assert row["difference_high"] < 0 and row["p_holm"] < 0.05
    assert set(frame["verdict"]) == {"undecided"}
    assert "undecided, for with fewer than 50 sentences" in sentence_note(frame, notes)[0]


def test_no_verdict_is_no_claim_of_equality(tmp_path: Path) -> None:
    frame, notes = compare(load(written(tmp_path)))
    alike = frame[frame["arm"].isin(["F3", "F6"])]
    assert "undecided in every arm and seed" in sentence_note(alike, notes)[0]
    assert "in the one seed compared: F8" in sentence_note(frame[(frame["arm"] == "F8") & (frame["seed"] == 1)], [])[0]


def test_the_counts_agree_with_scores_json(tmp_path: Path) -> None:
    study = load(written(tmp_path))
    found, _ = counts(study)
    assert len(found) == len(study.scores) == 12
    for run, expected in zip(study.scores["run"], study.scores["bleu"], strict=True):
        assert abs(float(bleu(found[run].sum(axis=0))) - expected) < 1e-9


def test_the_note_and_the_file(tmp_path: Path) -> None:
    study = load(written(tmp_path))
    (line,) = sentence_note(*compare(study))
    assert "over the 80 test sentences within each seed" in line
    assert "below the control in every seed: F1, F2, F8" in line
    assert line in tables.tabulate(study).lines
    assert tmp_path / "out" / "sentences.csv" in tables.write(study, tmp_path / "out")


def test_what_cannot_be_compared_is_said(tmp_path: Path) -> None:
    path = written(tmp_path)
    first, second, third = sorted(path.glob("F1-*")) + sorted(path.glob("F2-s1-*"))
    (first / "samples.jsonl").unlink()
    edit(second / "scores.json", bleu=55.5)
    lines = (third / "samples.jsonl").read_text().splitlines()
    (third / "samples.jsonl").write_text("\n".join(lines[1:]) + "\n")
    frame, notes = compare(load(path))
    assert notes == [
        f"samples.jsonl is missing or incomplete ({first.name})",
        f"BLEU of samples.jsonl is not the one in scores.json ({second.name})",
        f"samples.jsonl has other sentences than the first run's ({third.name})",
    ]
    assert set(frame["arm"]) == {"F2", "F3", "F6", "F8"}
    assert sentence_note(frame, notes)[1] == f"Not compared sentence by sentence: {notes[0]}."


def test_a_study_without_samples_says_so_once(tmp_path: Path) -> None:
    frame, notes = compare(load(write_study(tmp_path, "token_loss", seeds=(1, 2))))
    assert frame.empty
    assert len(notes) == 1
    assert "8 runs, such as" in notes[0]


def test_counts_of_rows_do_not_depend_on_the_rows_before_them() -> None:
    """References that stay the same are counted once; others are counted anew."""
    rows = [[{"hypothesis": f"a b {i} c d", "reference": f"a b {side} c d"} for i in range(3)] for side in "xxyx"]
    table = sentence_counts.bleu_table("13a")
    for each in rows:
        alone = statistics(*sentence_counts.texts(each))
        assert (table(each) == alone).all()
