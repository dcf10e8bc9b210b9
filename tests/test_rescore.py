"""Scores of finished runs made anew: by another tokenizer, by a function of the user's, all or nothing."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_runs import edit, write_study
from making import make, needs_make

from ablations.rescore import metrics_of
from ablations.rescoring import finished, replace, rescored
from analysis import footer, tables
from analysis.load import load
from analysis.report.page import page
from analysis.results import ablation
from analysis.sentences import compare
from core import scores
from core.errors import UserError
from core.run_folder import read
from core.scoring.own import Own

ROOT = Path(__file__).parents[1]

METRICS = '''
import sys

def exact(hypotheses, references, sources):
    """One number for each sentence."""
    assert isinstance(references[0], list) and len(sources) == len(hypotheses)
    return [100.0 * (text in group) for text, group in zip(hypotheses, references)]

def share(hypotheses, references, sources):
    """One number; what it does to its arguments is its own affair."""
    hypotheses.clear(), references[0].clear()
    return 12.5

def broken(hypotheses, references, sources):
    raise ValueError("no model\\nfor this language")

def leaves(hypotheses, references, sources):
    raise SystemExit("leaving")

def few(hypotheses, references, sources):
    return [1.0]

def none(hypotheses, references, sources):
    return None

def nan(hypotheses, references, sources):
    return float("nan")

def named(hypotheses, references, sources):
    return {"score": 1.0}

def late(hypotheses, references, sources):
    yield 1.0
    raise ValueError("too late")

def second(hypotheses, references, sources, calls=[]):
    calls.append(1)
    return 1 / (len(calls) < 2)

number = 3
'''


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A study of invented runs, and own_metrics.py beside it, in the current folder."""
    path = write_study(tmp_path / "runs", "noise_factor", seeds=(1, 2))
    (tmp_path / "own_metrics.py").write_text(METRICS)
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    yield path
    sys.path[:] = before
    sys.modules.pop("own_metrics", None)


def content(study: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in study.rglob("*") if path.is_file() and path.name != "sweep.lock"}


def rescore(study: Path, tokenizer: str | None = None, *specs: str) -> None:
    replace(study, [rescored(folder, tokenizer, metrics_of(specs, [])) for folder in finished(study)])


def test_all_scores_come_from_the_samples(study: Path) -> None:
    rescore(study, "char")
    for folder in finished(study):
        rows, found = read(folder / "samples.jsonl"), read(folder / "scores.json")
        pairs = [row["hypothesis"] for row in rows], [row["reference"] for row in rows]
        made = scores.score(*pairs, "char")
        assert {name: found[name] for name in made} == made and "tok:char" in found["signature"]
        assert rows[3]["sentence_bleu"] == scores.sentence_bleu(pairs[0][3], pairs[1][3], "char")
        assert "tok:none" in found["curves_signature"] and found["by_steps"], "what only decoding could make anew"
        assert rows[3]["trajectory"] and found["checkpoints_averaged"] == 5
    frame, notes = compare(load(study))
    assert len(frame) == 10 and not notes, "and sentences are compared by the same tokenizer"
    assert "tok:char" in "".join(footer.footer(load(study)))
    assert "BLEU in curves, which was not scored anew: nrefs:1" in "".join(footer.footer(load(study)))
    rescore(study, "none")
    assert "curves_signature" not in read(finished(study)[0] / "scores.json")


def test_the_floor_is_made_anew_where_its_text_is_there(study: Path) -> None:
    here, changed, *_ = finished(study)
    for folder in (here, changed):
        edit(folder / "scores.json", floor_outputs=["a"])
    edit(here / "run.json", data={"digest": "embedded-1"})
    edit(changed / "run.json", data={"digest": "another"})
    rescore(study)
    assert len(read(here / "scores.json")["floor_outputs"]) > 3
    assert read(changed / "scores.json")["floor_outputs"] == ["a"]
    assert rescored(here, None, []).kept == ""
    assert rescored(changed, None, []).kept == "the text of embedded (translate) is another one now"


def test_twice_is_as_once(study: Path) -> None:
    rescore(study, None, "own_metrics:exact")
    once = content(study)
    rescore(study, None, "own_metrics:exact")
    assert content(study) == once


def test_chinese_that_scored_nothing_is_mended(study: Path) -> None:
    """As before there was a choice of tokenizers, by make rescore alone; what a run names is what it gets."""
    folders = finished(study)
    for folder in folders:
        row = {"id": 0, "source": "a", "reference": "我喜欢黑猫。", "hypothesis": "我喜欢黑猫。", "sentence_bleu": 0.0}
        (folder / "samples.jsonl").write_text(json.dumps(row) + "\n")
        edit(folder / "scores.json", bleu=0.0, rougeL=0.0)
    record = read(folders[0] / "run.json")
    edit(folders[0] / "run.json", config=record["config"] | {"bleu_tokenizer": "char"})
    rescore(study)
    found = [read(folder / "scores.json") for folder in folders]
    assert all(one["bleu"] == pytest.approx(100) and one["rougeL"] == pytest.approx(100) for one in found)
    assert "tok:char" in found[0]["signature"] and "tok:zh" in found[1]["signature"]
    (note,) = [note for note in load(study).notes if "not comparable" in note]
    assert "tok:char" in note and "tok:zh" in note


def test_a_metric_of_the_users_stands_everywhere(study: Path) -> None:
    rescore(study, None, "own_metrics:exact", "own_metrics:share")
    run = finished(study)[0]
    found, rows = read(run / "scores.json"), read(run / "samples.jsonl")
    assert found["own/exact"] == pytest.approx(sum(row["own/exact"] for row in rows) / len(rows))
    assert found["own/share"] == 12.5 and "own/share" not in rows[0]
    loaded = load(study)
    assert set(ablation(loaded)["own/share"]) == {12.5}
    made = tables.tabulate(loaded)
    heads = str(made)
    assert "exact" in heads and "share" in heads
    assert "exact own_metrics:exact" in "".join(footer.footer(loaded))
    judged = load(study, metric="exact")
    assert judged.metric == "own/exact" and judged.values("own/exact", "F4")
    assert "exact (both seeds)" in str(tables.tabulate(judged)) and "own/" not in page(judged)
    with pytest.raises(UserError, match="--metric exactt: no result has this score; there are bleu"):
        load(study, metric="exactt")


def test_a_metric_may_be_a_generator() -> None:
    made = Own("each", "own:each", lambda hypotheses, references, sources: (float(len(group)) for group in references))
    assert made.score(["a", "b"], [["a"], ["b", "c", "d"]], ["", ""]) == (2.0, [1.0, 3.0])


@pytest.mark.parametrize(
    ("function", "says"),
    [
        ("broken", r"failed \(ValueError: no model for this language, own_metrics\.py line 15\) on .*F1-s1"),
        ("leaves", r"failed \(SystemExit: leaving, own_metrics\.py line 18\)"),
        ("few", "gave 1 scores for 30 sentences"),
        ("none", "gave NoneType, not a number or one for each sentence"),
        ("named", "gave dict, not a number or one for each sentence"),
        ("late", r"failed \(ValueError: too late, own_metrics\.py line 3\d\)"),
        ("nan", "gave a score that is no finite number"),
        ("number", "is no function"),
        ("gone", r"cannot be loaded \(AttributeError: .*no attribute 'gone'\)"),
    ],
)
def test_a_function_that_fails_leaves_all_as_it_was(function: str, says: str, study: Path) -> None:
    before = content(study)
    with pytest.raises(UserError, match=rf"--metric own_metrics:{function}: .*{says}"):
        rescore(study, "char", f"own_metrics:{function}")
    assert content(study) == before


def test_a_failure_while_writing_leaves_all_as_it_was(study: Path) -> None:
    before = content(study)
    made = [rescored(folder, "char", []) for folder in finished(study)]
    made[-1].rows.append({"id": {1, 2}})  # no JSON
    with pytest.raises(TypeError):
        replace(study, made)
    assert content(study) == before


def test_what_cannot_be_scored_is_named(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = finished(study)
    (folders[0] / "samples.jsonl").unlink()
    edit(folders[1] / "run.json", state="failed")
    assert finished(study) == folders[2:] and f"{folders[0]}: has no samples.jsonl" in capsys.readouterr().err
    (folders[2] / "samples.jsonl").write_text(
        '{"id": 0, "source": "a", "reference": "b", "hypothesis": "c"}\n{"id": 1}\n'
    )
    with pytest.raises(
        UserError, match=r"samples\.jsonl: cannot be scored \(line 2 is incomplete\); nothing was changed"
    ):
        rescored(folders[2], None, [])
    edited = '{"id": 0, "source": "a", "reference": "b", "references": "b", "hypothesis": "c"}\n'
    (folders[2] / "samples.jsonl").write_text(edited)
    with pytest.raises(UserError, match=r"cannot be scored \(line 1 is incomplete\)"):
        rescored(folders[2], None, [])
    with pytest.raises(UserError, match="no such folder; name that of a study"):
        finished(study / "nowhere")
    (study / "empty").mkdir()
    with pytest.raises(UserError, match="none of its 0 runs is finished"):
        finished(study / "empty")
    for specs, names, says in (
        (["nothing"], [], "expected module:function"),
        (["own_metrics:exact"] * 2, [], "two are called exact"),
        (["own_metrics:exact"], ["a/b"], "must be of letters"),
        (["own_metrics:exact"], ["a", "b"], "--name b: names a --metric"),
    ):
        with pytest.raises(UserError, match=says):
            metrics_of(specs, names)
    assert Own.named("own_metrics:exact", "right").name == "right"


@needs_make
def test_make_rescore_scores_a_study(study: Path) -> None:
    where = os.pathsep.join([str(ROOT), str(study.parent.parent)])
    arguments = "ARGS=--metric own_metrics:exact --name right --bleu_tokenizer intl"
    done = make(
        "rescore", f"PY={sys.executable}", "STUDY=noise_factor", f"RUNS={study.parent}", arguments, PYTHONPATH=where
    )
    assert done.returncode == 0, done.stderr
    assert "12 runs scored anew" in done.stdout and "right " in done.stdout and "tok:intl" in done.stdout
    assert "own/right" in read(finished(study)[0] / "scores.json")


def test_the_command_ends_with_one_message(study: Path) -> None:
    line = [sys.executable, "-m", "ablations.rescore", str(study), "--metric", "own_metrics:broken"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(line, capture_output=True, text=True, env=environment)
    assert done.returncode == 2 and done.stderr.startswith("error: --metric own_metrics:broken: failed (ValueError")
    assert done.stderr.count("\n") == 1 and done.stdout == ""
    before = content(study)
    done = subprocess.run([*line[:-1], "own_metrics:second"], capture_output=True, text=True, env=environment)
    assert done.returncode == 2 and "failed (ZeroDivisionError" in done.stderr and content(study) == before


def test_a_search_leads_to_the_runs_that_have_texts(tmp_path: Path) -> None:
    folder = tmp_path / "modules-search"
    folder.mkdir()
    (folder / "search.json").write_text("{}")
    with pytest.raises(UserError, match="rescore STUDY=modules and STUDY=modules-tuned"):
        finished(folder)
