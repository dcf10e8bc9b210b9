"""Quality against decoding time: every method's curve, points for those without steps, and the front of all."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fake_runs import edit, write_study
from hypothesis import given
from hypothesis import strategies as st

from ablations import evaluate
from analysis.figures import drawing, quality_time
from analysis.figures.common import Missing
from analysis.load import load
from analysis.report.alt_text import describe
from analysis.sentence_counts import bleu, statistics
from analysis.style import OKABE_ITO, arm_style

NUMBERS = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 6)), min_size=1, max_size=12)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("runs"), "all_systems", seeds=(1, 2))


@given(NUMBERS)
def test_the_front_is_what_nothing_dominates(points: list[tuple[int, int]]) -> None:
    cost, score = np.array(points, dtype=float).T
    front = quality_time.on_front(cost, score)
    assert front.any()
    for i, own in enumerate(points):
        better = [p for p in points if p != own and p[0] <= own[0] and p[1] >= own[1]]
        assert front[i] == (not better)


def test_the_time_of_a_curve_is_that_of_decoding_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As that of the points beside it is: scoring the texts takes none of it."""
    passed = [0.0]
    monkeypatch.setattr(evaluate.time, "monotonic", lambda: passed[0])

    def taking(seconds: float, result: Any) -> Any:
        def work(*_: Any) -> Any:
            passed[0] += seconds
            return result

        return work

    head = SimpleNamespace(pairs=[("a", "b")], references=[["b"]])
    method = SimpleNamespace(with_steps=lambda decoding, K: K, calls=lambda K: K)
    parts = {"batched": taking(0, None), "texts": taking(2, ["b"]), "value": taking(7, 100.0), "bleu": taking(9, 100.0)}
    evaluator: Any = SimpleNamespace(method=method, decoding=0, test_head=head, **parts)
    assert {row["seconds"] for row in evaluate.score_steps(evaluator, None, {})} == {2.0}


def test_all_nine_are_drawn_and_the_csv_says_what_is_on_the_front(runs: Path, tmp_path: Path) -> None:
    study = load(runs)
    written, said = drawing._write((quality_time,), lambda m, w: (*drawing.draw_module(m, study, w), ""), tmp_path,
                                   ["png"], drawing.Width())  # fmt: skip
    assert len(written) == 2 and not said
    frame = pd.read_csv(tmp_path / "quality_time.csv")
    assert set(frame["arm"]) == {arm.name for arm in study.arms} and len(frame) == 8 * 5 + 1
    assert frame.loc[frame["arm"] == "autoregressive", "steps"].isna().all()
    front = frame[frame["front"]].sort_values("ms")
    assert front["mean"].is_monotonic_increasing and set(front["arm"]) == {"cmlm", "autoregressive"}
    assert describe("quality_time", frame).startswith("BLEU on the front, from the fastest: cmlm (6 steps)")


def test_nine_arms_have_colours_of_their_own(runs: Path) -> None:
    assert [look.color for look in arm_style(load(runs)).values()] == list(OKABE_ITO[:9])


@pytest.mark.parametrize("width", [None, 3.03, 6.9])
def test_the_legend_names_all_at_any_width(runs: Path, width: float | None) -> None:
    study = load(runs)
    figure, _ = quality_time.figure(study, width)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [*(arm.label for arm in study.arms), "front of all"]
    assert figure.get_figheight() < 5


def test_a_method_without_steps_is_scored_on_the_sentences_of_the_others(tmp_path: Path) -> None:
    path = write_study(tmp_path, "systems", seeds=(1,))
    rows: list[dict[str, Any]] = [{"id": i, "source": "s", "reference": "a b c d e"} for i in range(8)]
    rows = [row | {"hypothesis": "a b c d e" if row["id"] < 4 else "a b c d x"} for row in rows]
    table = statistics([row["hypothesis"] for row in rows], [row["reference"] for row in rows], "none")
    for file in path.glob("*/scores.json"):
        steps = [{"steps": k, "calls": k, "bleu": 50.0, "seconds": k / 10, "sentences": 4} for k in (2, 5)]
        is_diffusion = file.parent.name.startswith("difformer")
        edit(file, bleu=float(bleu(table.sum(axis=0))), sentences=8, **({"by_steps": steps} if is_diffusion else {}))
        (file.parent / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    figure, frame = quality_time.figure(load(path))
    point = frame[frame["arm"] == "autoregressive"].iloc[0]
    assert point["mean"] == pytest.approx(100) and point["sentences"] == 4 and point["ms"] == pytest.approx(1000)
    assert "BLEU on the same sentences, time on the whole test set" in figure.caption  # type: ignore[attr-defined]
    for file in path.glob("autoregressive*/samples.jsonl"):
        file.unlink()
    figure, frame = quality_time.figure(load(path))
    assert frame[frame["arm"] == "autoregressive"]["sentences"].iloc[0] == 8
    assert "BLEU and time on the whole test set" in figure.caption  # type: ignore[attr-defined]


def test_a_study_of_one_method_has_no_such_figure(tmp_path: Path) -> None:
    study = load(write_study(tmp_path, "token_loss", seeds=(1,)))
    assert drawing.besides(study) == ()
    with pytest.raises(Missing):
        quality_time.figure(study)


def test_more_arms_than_a_panel_can_tell_apart_are_not_drawn(tmp_path: Path) -> None:
    study = load(write_study(tmp_path, "transfer", seeds=(1,)))
    with pytest.raises(Missing, match="24 arms are more than a panel can tell apart"):
        quality_time.figure(study)
