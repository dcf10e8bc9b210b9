"""Where scores allow no verdict, and that none is given then: in tables, claims, figures, the report, a search."""

import json
import subprocess
import sys
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_runs import edit, write_study
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from ablations import presets
from ablations.floor import CENTRAL, central, constants, floor
from analysis import tables
from analysis.claims import claims
from analysis.judging import CLEAR, NO_VERDICT, PRESETS, learned, why_no_verdict
from analysis.load import load
from analysis.markup import markdown
from analysis.report.page import page
from analysis.stats import mean_interval_t
from core import scores
from core.text.batches import encode
from core.text.tokenizer import Tokenizer, train_words

ROOT = Path(__file__).parents[1]
values = st.lists(st.floats(0, 100), min_size=1, max_size=6)


def of(control: list[float], other: list[float], metric: str = "bleu", floor_: float | None = 1.5) -> str:
    """What is said of two arms with these scores, the first one the control."""
    rows = [
        {"arm": arm, "label": arm, "seed": seed, metric: value} | ({f"floor/{metric}": floor_} if floor_ else {})
        for arm, own in (("full", control), ("less", other))
        for seed, value in enumerate(own, 1)
    ]
    return why_no_verdict({"control": "full"}, pd.DataFrame(rows), metric)


@given(values, values, st.sampled_from(["bleu", "chrf", "own"]))
def test_a_control_clearly_above_the_floor_is_judged_and_one_below_it_is_not(
    control: list[float], other: list[float], metric: str
) -> None:
    above = [6.6 + value / 2 for value in control]
    assert of(above, other, metric) == "" or (metric == "own" and mean_interval_t(above).low <= 1.5)
    assert "nothing shows that the control arm, full, has" in of([value / 100 for value in control], other, metric)


@given(st.lists(st.floats(-3, 100), min_size=2, max_size=6), st.floats(0, 50))
def test_who_has_learned_still_has_with_more(above: list[float], more: float) -> None:
    """Each seed better by the same: what was shown is shown still."""
    assert not learned(np.array(above), "bleu") or learned(np.array(above) + more, "bleu")


@given(values, st.floats(99, 100))
def test_all_at_the_ceiling_is_no_comparison_and_one_below_it_is(others: list[float], high: float) -> None:
    assert "ceiling" in of([high, 99.5], [99.0, 100.0])
    assert of([high, 99.5], [min(value, 98.9) for value in others]) == ""
    assert of([high], [99.0], "own") == "", "of a metric of unknown scale nothing is known of a ceiling"


def test_where_the_control_has_no_result_all_arms_at_the_floor_allow_no_verdict() -> None:
    rows = [{"arm": arm, "label": arm, "seed": seed, "bleu": 1.4, "floor/bleu": 1.5} for arm in "ab" for seed in (1, 2)]
    frame = pd.DataFrame(rows)
    assert "nothing shows that any arm has learned" in why_no_verdict({"control": "gone"}, frame, "bleu")
    frame.loc[frame["arm"] == "b", "bleu"] += [20.0, 21.0]
    assert why_no_verdict({"control": "gone"}, frame, "bleu") == ""


@given(values, values)
def test_without_a_known_floor_nothing_is_said(control: list[float], other: list[float]) -> None:
    assert of([min(value, 98) for value in control], other, floor_=None) == ""


@pytest.mark.parametrize(
    ("above", "expected"),
    [
        ([CLEAR], True),
        ([0.1], False),
        ([0.3, 0.2], False),
        ([4.0, 4.1], True),
        ([20.0, 75.0], True),
        ([70.0, 50.0, -1.0], True),
        ([70.0, 0.0, -1.0], False),
        ([-0.1] * 3, False),
    ],
)
def test_learned(above: list[float], expected: bool) -> None:
    assert learned(np.array(above), "bleu") is expected


def test_presets_whose_scores_mean_nothing_are_known() -> None:
    assert set(PRESETS) == {p.name for p in presets.PRESETS.values() if "mean nothing" in p.expected}
    for name in PRESETS:
        said = why_no_verdict({"preset": name}, pd.DataFrame({"arm": ["a"], "bleu": [50.0]}), "bleu")
        assert said.startswith(f"No verdict: scores of preset {name} mean nothing")


def test_the_floor_is_the_best_of_outputs_made_of_targets() -> None:
    """'a b c d' is what most sentences are: as an output for all it scores best."""
    pairs = [(f"s{i}", "a b c d" if i % 3 else f"a b x{i} y{i} z{i}") for i in range(30)]
    tokenizer = Tokenizer(train_words([text for pair in pairs for text in pair]))
    outputs = constants(encode(pairs, tokenizer, 128).target, tokenizer)
    assert outputs[0].startswith("a b c d") and "a b c d" in outputs and len(outputs) == len(set(outputs)) == 2 + 2
    references = [target for _, target in pairs]
    found = floor(outputs, references, scores.score)
    assert found["floor/bleu"] == pytest.approx(scores.bleu(["a b c d"] * 30, references))
    assert {"floor/bleu", "floor/chrf", "floor/rougeL"} <= found.keys() and "floor/sentences" not in found


def test_targets_that_are_like_all_others_are_among_the_outputs() -> None:
    """The most frequent target is none of them: it shares no word with the others, which share most of theirs."""
    colours = ["blue", "red", "green", "black", "white", "grey", "brown"]
    pairs = [(colour, f"a man in a {colour} shirt") for colour in colours] + [("x", "v w u"), ("y", "v w u")]
    tokenizer = Tokenizer(train_words([text for pair in pairs for text in pair]))
    outputs = constants(encode(pairs, tokenizer, 128).target, tokenizer)
    assert "v w u" in outputs and sum(output.startswith("a man in a ") for output in outputs) == CENTRAL
    references = [target for _, target in pairs]
    assert floor(outputs, references, scores.score)["floor/bleu"] == pytest.approx(
        max(scores.bleu([target] * len(references), references) for target in references)
    )


@given(st.lists(st.lists(st.integers(4, 7), min_size=4, max_size=9).map(tuple), min_size=1, max_size=12))
def test_the_central_rows_are_those_of_the_highest_bleu(rows: list[tuple[int, ...]]) -> None:
    """By sacreBLEU, where rows have 4-grams: each is one of its own references, so no precision is 0."""
    found = central(rows, len(rows))
    texts = {row: " ".join(f"w{i}" for i in row) for row in rows}
    values = [scores.bleu([texts[row]] * len(rows), [texts[row] for row in rows]) for row in found]
    assert sorted(found) == sorted(texts) and values == pytest.approx(sorted(values, reverse=True))


def test_central_rows_are_not_those_that_are_too_short_for_a_score() -> None:
    rows = [(4, 5, 6), *((4, 5, 6, 7, 8 + i) for i in range(9))]
    assert (4, 5, 6) not in central(rows, 3)


def unlearned(root: Path) -> Path:
    """A study in which the control is at the floor, with the effects of any other; as clear as they may be."""
    path = write_study(root, "modules", seeds=(1, 2, 3))
    for file in path.glob("*/scores.json"):
        found = json.loads(file.read_text())
        edit(file, bleu=found["bleu"] / 70)
    return path


def test_no_verdict_stands_wherever_one_would(tmp_path: Path) -> None:
    study = load(unlearned(tmp_path))
    assert study.no_verdict.startswith("No verdict: nothing shows that the control arm, anchor · norm · F4, has")
    assert {claim.verdict for claim in claims(study)} == {NO_VERDICT}
    assert {claim.reason for claim in claims(study)} == {study.no_verdict}
    made = tables.tabulate(study)
    assert set(made.frames["effects"]["verdict"]) == set(made.frames["effects"]["pooled_verdict"]) == {NO_VERDICT}
    assert made.frames["effects"]["p"].notna().all(), "the numbers stay in the CSV"
    text = markdown(made.grids, made.lines)
    assert text.count(NO_VERDICT) == 14 and "helps" not in text and "<0.001" not in text
    assert made.lines[0].startswith("No verdict:") and "Power:" not in text
    out = StringIO()
    tables.show(study, Console(file=out, width=80))
    assert out.getvalue().startswith("No verdict: nothing shows")


@pytest.mark.slow
def test_the_report_says_no_verdict(tmp_path: Path) -> None:
    text = page(load(unlearned(tmp_path)))
    assert "No verdict: nothing shows that the control arm" in text
    assert ">reproduced<" not in text and "0 reproduced" in text and "10 no verdict" in text


@pytest.mark.slow
def test_a_smoke_sweep_gets_no_verdict(tmp_path: Path) -> None:
    arguments = ["--study", "norm", "--preset", "smoke", "--seeds", "2", "--workers", "2", "--runs", "runs"]
    command = [sys.executable, "-m", "sweeps.study", *arguments, "--figures", "figures"]
    env = {"PYTHONPATH": str(ROOT), "WANDB_MODE": "disabled", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
    assert "No verdict: scores of preset smoke mean nothing" in done.stdout
    ending = done.stdout.partition("runs done")[2].splitlines()
    assert ending[-1].startswith(
        "figures, and how to read all this: figures/norm-smoke/table.md; in one page: make report"
    )
    assert len(ending) < 20 and "Power" not in done.stdout and "wrote" not in done.stdout
    folder = tmp_path / "figures" / "norm-smoke"
    assert "No verdict: scores of preset smoke" in (folder / "table.md").read_text()
    assert set(pd.read_csv(folder / "effects.csv")["verdict"]) == {NO_VERDICT}
    found = json.loads(next(tmp_path.glob("runs/norm-smoke/*/scores.json")).read_text())
    assert 0 <= found["floor/bleu"] < 20 and "floor/chrf" in found and len(found["floor_outputs"]) >= 2
    info = json.loads((tmp_path / "runs" / "norm-smoke" / "study.json").read_text())
    assert why_no_verdict(info | {"preset": "tiny"}, load(tmp_path / "runs" / "norm-smoke").scores, "bleu")
