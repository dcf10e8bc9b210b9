"""What is published of the systems: the file itself, and how it stands beside a study."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from fake_runs import edit, write_study

from analysis import tables
from analysis.beside import differs
from analysis.beside_grids import beside, published_files
from analysis.footer import footer
from analysis.load import StudyResults, load
from analysis.published import FILE, TEXTS, published, published_of, text_of
from analysis.report.page import page
from analysis.report.sections.provenance import runs_frame
from core import methods

TRANSLATION = {"IWSLT14", "WMT14", "WMT16"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All systems on a text that no paper has."""
    return write_study(tmp_path_factory.mktemp("runs"), "all_systems", seeds=(1, 2, 3))


def on_text(path: Path, name: str, **data: Any) -> StudyResults:
    """The study as if its text had that name."""
    for file in path.glob("*/run.json"):
        edit(file, data=json.loads(file.read_text())["data"] | {"name": name} | data)
    return load(path)


def test_every_row_of_the_file_says_what_it_must() -> None:
    rows = published()
    assert len(rows) > 200
    assert set(rows["method"]) - {""} <= set(methods.names()) and {"rdm", "cmlm", "mdlm"} <= set(rows["method"])
    assert set(rows["data"]) == set(TEXTS)
    assert set(rows["targets"]) == {"raw", "distilled", "unknown"}
    assert set(rows["whose"]) == {"own", "other", "copied", "run again", "user"}
    assert set(rows["read"]) == {"source", "quoted", "low trust"}
    assert (rows[["system", "metric", "scoring", "source"]] != "").all(axis=None)
    assert (rows.groupby(rows["source"].str.partition(",")[0])["read"].nunique() == 1).all()  # all of a paper alike
    counts = rows[["updates", "width", "steps"]].stack()
    assert all(each.isdigit() for each in counts if each)
    assert (rows["direction"] != "").equals(rows["data"].isin(TRANSLATION))


def test_scores_are_on_the_scale_that_they_were_published_on() -> None:
    rows = published()
    ones = rows["scale"] == 1
    assert set(rows.loc[ones, "metric"]) == {"sentence BLEU", "COMET"} and set(rows["scale"]) == {1, 100}
    assert rows.loc[ones, "number"].between(0, 1).all() and rows.loc[~ones, "number"].between(1.2, 100).all()


def test_no_row_stands_twice_and_contradictions_stay() -> None:
    rows = pd.read_csv(FILE, dtype=str, keep_default_na=False)
    assert not rows.duplicated().any()
    key = ["system", "data", "direction", "metric", "scoring", "targets", "candidates", "selection", "source"]
    assert not rows.duplicated(key).any(), "a table gives one number by one protocol"
    seqdiffuseq = rows[(rows["system"] == "SeqDiffuSeq") & (rows["data"] == "WMT14") & (rows["direction"] == "en-de")]
    assert {"24.24", "17.14", "19.16"} <= set(seqdiffuseq["value"])
    dinoiser = rows[(rows["system"] == "DINOISER") & (rows["data"] == "WMT14") & (rows["direction"] == "de-en")]
    assert set(dinoiser["value"]) == {"28.8", "30.30"}


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("iwslt14_de_en_small de-en", ("IWSLT14", "de-en")),
        ("IWSLT2014 en-de", ("IWSLT14", "en-de")),
        ("wmt14.en-de src-tgt", ("WMT14", "en-de")),
        ("my-wmt16-text en-ro", ("WMT16", "en-ro")),
        ("wmt14 src-tgt", ("WMT14", "")),
        ("Quora_QQP src-tgt", ("QQP", "")),
        ("wiki-auto complex-simple", ("Wiki-Auto", "")),
        ("iwslt15 vi-en", ("", "")),
        ("multi30k de-en", ("", "")),
        ("embedded (translate)", ("", "")),
        ("xsum-and-gigaword src-tgt", ("", "")),
    ],
)
def test_a_text_is_known_by_its_name(runs: Path, name: str, found: tuple[str, str]) -> None:
    study = load(runs)
    records = {run: record | {"data": {"name": name}} for run, record in list(study.records.items())[:2]}
    text = text_of(StudyResults(**{**vars(study), "records": records}))
    assert text == (name, *found)


def test_a_text_made_from_another_is_that_one(runs: Path) -> None:
    lineage = {"made_by": "distillation", "source": {"name": "wmt14 en-de", "digest": "0"}}
    study = load(runs)
    records = {"a": {"data": {"name": "taught en-de", "lineage": lineage}}}
    assert text_of(StudyResults(**{**vars(study), "records": records})).data == "WMT14"


def test_of_a_text_in_print_each_arm_stands_above_its_numbers(tmp_path: Path) -> None:
    path = write_study(tmp_path, "all_systems", seeds=(1, 2, 3))
    study = on_text(path, "iwslt14_small de-en", train_pairs=14_938)
    found = beside(study)
    assert found is not None
    grid = found.grids[0]
    cells = [dict(zip(grid.heads, row, strict=True)) for row in grid.rows]
    names = [cell["system"] for cell in cells]
    own = cells[names.index("cmlm (here)")]
    below = cells[names.index("cmlm (here)") + 1]
    assert "[" in own["score"] and own["targets"] == "raw"
    assert (below["system"], below["score"], below["scored by"]) == ("CMLM", "29.41", "sacreBLEU")
    assert "training pairs 160,239, here 14,938" in below["what differs from here"]
    assert "No number of this text is at hand of rdm, mdlm." in found.lines
    printed = found.frame[~found.frame["here"].astype(bool)]
    assert len(printed) == len(published_of(text_of(study))), "each number of the text stands once, none is left out"
    assert {"Difformer, F = 1", "SEDD"} <= {row[0] for row in found.grids[1].rows}


@pytest.mark.parametrize(("name", "said"), [("embedded (translate)", ""), ("multi30k de-en", ": no result of a diff")])
def test_of_any_other_text_there_is_an_order_alone(tmp_path: Path, name: str, said: str) -> None:
    study = on_text(write_study(tmp_path, "all_systems", seeds=(1, 2)), name)
    found = beside(study)
    assert found is not None
    assert found.lines[0].startswith(f"No published number is of this text, {name}{said}")
    measured, order = found.grids
    means = [float(row[1].split()[0]) for row in measured.rows]
    assert means == sorted(means, reverse=True) and len(means) == 9
    gu = next(row for row in order.rows if row[:2] == ("Gu et al. 2024, table", "IWSLT14 De-En"))
    assert gu[3].startswith("Transformer 34.31") and "DiffuSeq 28.78 (copied)" in gu[3]
    assert all(" > " in row[3] for row in order.rows)
    assert "IWSLT14, direction unknown" in {row[1] for row in order.rows}


def test_what_differs_is_said_and_what_is_alike_is_not() -> None:
    own = {"targets": "raw", "scoring": "sacreBLEU 13a", "candidates": "1x1", "steps": "20", "updates": "700"}
    own |= {"width": "96", "pairs": "160000"}
    row = published()[published()["value"] == "32.2"].iloc[0].to_dict()
    said = differs(row, own)
    assert said == "BLEU tokenised, here sacreBLEU 13a; targets distilled, here raw; not said: updates, width; quoted"
    assert "COMET is not measured here" in differs(row | {"metric": "COMET"}, own)


def test_of_trainings_that_their_time_ended_no_number_of_updates_is_told(tmp_path: Path) -> None:
    path = write_study(tmp_path, "all_systems", seeds=(1, 2))
    for file in path.glob("*/run.json"):
        edit(file, config=json.loads(file.read_text())["config"] | {"training_seconds": 30.0})
    study = on_text(path, "iwslt14 de-en")
    found = beside(study)
    assert found is not None
    own = found.frame[found.frame["here"].astype(bool)]
    assert set(own["updates"]) == {""} and own["training"].str.startswith("30 s of training in batches of ").all()
    assert "updates" not in " ".join(found.frame["differs"].dropna())
    said = next(line for line in footer(study) if line.startswith("Training: "))
    assert "30 s of training" in said and "updates" not in said
    assert runs_frame(study)["updates"].isna().all()


def test_a_study_of_one_method_has_no_such_table(tmp_path: Path) -> None:
    study = load(write_study(tmp_path, "token_loss", seeds=(1,)))
    assert beside(study) is None and published_files(study) == {}


@pytest.mark.slow
def test_report_and_files_have_it(runs: Path, tmp_path: Path) -> None:
    study = load(runs)
    written = {path.name for path in tables.write(study, tmp_path)}
    assert {"published.md", "published.csv"} <= written
    assert "No published number is of this text" in (tmp_path / "published.md").read_text()
    assert len(pd.read_csv(tmp_path / "published.csv")) == len(published()) + 9
    text = page(study)
    assert 'id="published"' in text and "Published beside measured" in text and 'id="figure-quality-time"' in text
