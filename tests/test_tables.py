"""Run folders, whole and broken, into frames; frames into tables."""

import csv
import json
import re
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from fake_runs import BANNER, SIGNATURE, edit, score_row, write_study
from rich.console import Console

from analysis import results, tables
from analysis.files import read_rows
from analysis.load import load
from analysis.markup import markdown
from analysis.stats import mean_interval_t
from core.errors import UserError


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("runs"), "modules", seeds=(1, 2, 3))


def runs(path: Path) -> list[Path]:
    return sorted(path.glob("*/run.json"))


def test_a_whole_study_is_read(modules: Path) -> None:
    study = load(modules)
    assert len(study.runs) == len(study.scores) == 24
    assert study.arms[0].name == "anchor+norm+F4"
    assert study.control == "anchor+norm+F4"
    assert study.failed.empty
    assert not study.notes
    assert set(study.probes) == set(study.scores["run"])
    assert len(study.metrics) == 24 * 35
    assert study.metrics["val/bleu"].notna().sum() == 24 * 3
    assert len(study.steps) == 24 * 5
    assert study.values("bleu", "anchor+norm+F4").keys() == {1, 2, 3}


def test_where_no_study_is_those_nearby_are_named(tmp_path: Path) -> None:
    def said(name: str) -> str:
        with pytest.raises(UserError) as error:
            load(tmp_path / name)
        return str(error.value).replace(str(tmp_path), "runs")

    assert said("norm") == "no study folder runs/norm: run the sweep first (make sweep), or name the folder under runs/"
    for name in ("norm_placement", "modules", ".fetched"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "study.json").write_text("{}")
    (tmp_path / "modules-search").mkdir()
    (tmp_path / "modules-search" / "search.json").touch()
    (tmp_path / "old" / "a-s1-00000000").mkdir(parents=True)
    (tmp_path / "old" / "a-s1-00000000" / "run.json").touch()
    there = "modules, modules-search, norm_placement, old"
    assert said("norm") == f"no study folder runs/norm: did you mean runs/norm_placement? runs holds: {there}"
    assert said("xyz") == f"no study folder runs/xyz: runs holds: {there}"
    assert said("").endswith(f"it holds the studies {there}: name one of them, e.g. runs/modules")
    assert said("modules").endswith("nothing of it was run yet; start the same sweep again")
    (tmp_path / "empty").mkdir()
    assert said("empty").endswith(f"it is no study folder such as runs/modules; runs holds: {there}")
    for number in range(30):
        (tmp_path / f"s{number}").mkdir()
        (tmp_path / f"s{number}" / "study.json").touch()
    assert said("xyz").endswith(", s22 and 14 more")


def test_no_folder_no_runs_no_results(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no study folder .*nowhere"):
        load(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"no runs in .*run\.json"):
        load(tmp_path)
    with pytest.raises(UserError, match=r"make figures FROM=wandb:me/project"):
        load("wandb:me/project")
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / "run-1.wandb").touch()
    with pytest.raises(UserError, match=r"no runs in .*make figures FROM=.*wandb"):
        load(tmp_path / "wandb")
    with pytest.raises(UserError, match=r"no study folder .*x\.wandb: .*make figures FROM="):
        load(tmp_path / "x.wandb")
    path = write_study(tmp_path, "token_loss", seeds=(1,))
    for run in runs(path):
        edit(run, state="failed", reason="out of memory")
    with pytest.raises(UserError, match=r"no result .*4 failed.*out of memory"):
        load(path)
    (path / "study.json").write_text("{")
    with pytest.raises(UserError, match=r"study\.json is not readable"):
        load(path)


def test_broken_runs_are_listed_and_the_rest_is_read(tmp_path: Path) -> None:
    path = write_study(tmp_path, "modules", seeds=(1, 2))
    folders = [run.parent for run in runs(path)]
    edit(folders[0] / "run.json", state="failed", reason="out of memory")
    edit(folders[1] / "run.json", state="running")
    (folders[2] / "scores.json").unlink()
    edit(folders[3] / "scores.json", bleu=None)
    (folders[4] / "run.json").write_text("{")
    (folders[5] / "probes.npz").write_bytes(b"PK")
    (folders[6] / "probes.npz").unlink()
    edit(folders[7] / "scores.json", by_steps=None, chrf=None)
    study = load(path)
    reasons = dict(zip(study.failed["run"], study.failed["reason"], strict=True))
    assert reasons[folders[0].name] == "failed: out of memory"
    assert reasons[folders[1].name] == "running, not finished"
    assert "scores.json is missing" in reasons[folders[2].name]
    assert "no finite bleu" in reasons[folders[3].name]
    assert "unreadable" in reasons[folders[4].name]
    assert len(study.scores) == 11
    assert any(folders[5].name in note and "probes.npz" in note for note in study.notes)
    assert len(study.probes) == 9
    footer = "\n".join(tables.grids(study)[1])
    assert "out of memory" in footer
    assert folders[4].name in footer


def test_rows_cut_short_by_a_kill_are_dropped(tmp_path: Path) -> None:
    path = write_study(tmp_path, "token_loss", seeds=(1,))
    file = runs(path)[0].parent / "metrics.jsonl"
    text = file.read_text()
    file.write_text(text[: text.rindex("{") + 17])
    rows, broken = read_rows(file)
    assert (len(rows), broken) == (text.count("\n") - 1, 1)
    study = load(path)
    assert any("1 broken line of" in note for note in study.notes)


def test_a_step_written_twice_by_a_resumed_run_counts_once(tmp_path: Path) -> None:
    path = write_study(tmp_path, "token_loss", seeds=(1,))
    name = runs(path)[0].parent.name
    with (path / name / "metrics.jsonl").open("a") as file:
        file.write('{"train/step": 700, "train/mse": 0.125, "train/nll": null}\n')
    rows = load(path).metrics
    row = rows[(rows["run"] == name) & (rows["train/step"] == 700)]
    assert row["train/mse"].tolist() == [0.125]
    assert row["train/nll"].notna().all()


def test_of_two_runs_of_an_arm_and_seed_the_later_counts(tmp_path: Path) -> None:
    path = write_study(tmp_path, "token_loss", seeds=(1, 2))
    first = next(run.parent for run in runs(path) if run.parent.name.startswith("anchor-s1"))
    again = path / "anchor-s1-ffffffff"
    again.mkdir()
    for name in ("run.json", "scores.json"):
        (again / name).write_text((first / name).read_text())
    edit(again / "run.json", finished="2026-12-01T00:00:00")
    edit(path / "study.json", runs=None)
    edit(again / "scores.json", bleu=12.5)
    study = load(path)
    assert study.values("bleu", "anchor")[1] == 12.5
    assert any(first.name in note for note in study.notes)
    edit(again / "run.json", state="failed", reason="stopped")
    assert load(path).failed.empty


def test_runs_of_an_earlier_sweep_with_other_options_are_left_out(tmp_path: Path) -> None:
    path = write_study(tmp_path, "token_loss", seeds=(1, 2, 3))
    ours = [run.parent.name for run in runs(path) if "-s3-" not in run.parent.name]
    edit(path / "study.json", runs=ours)
    study = load(path)
    assert sorted(study.scores["run"]) == sorted(ours)
    others = sorted(run.parent.name for run in runs(path) if "-s3-" in run.parent.name)
    said = (
        f"4 runs left out, not among those of the sweep that study.json describes: {', '.join(others[:3])} and 1 more"
    )
    assert list(study.notes) == [said]


def test_a_single_run_left_out_is_named(tmp_path: Path) -> None:
    path = write_study(tmp_path, "token_loss", seeds=(1, 2))
    other = runs(path)[0].parent
    edit(other / "run.json", arm="another")
    assert list(load(path).notes) == [f"1 run left out, of arms that are not in study.json: {other.name}"]


def test_options_that_differ_without_an_arm_setting_them_are_told(tmp_path: Path) -> None:
    path = write_study(tmp_path, "noise_factor", seeds=(1, 2))
    run = runs(path)[3]
    edit(run, config=json.loads(run.read_text())["config"] | {"updates": 350})
    assert [note for note in load(path).notes if "updates" in note and "350, 700" in note]


def test_a_study_without_its_description_is_read_from_the_runs(tmp_path: Path) -> None:
    path = write_study(tmp_path, "modules", seeds=(1, 2))
    (path / "study.json").unlink()
    study = load(path)
    assert results.is_factorial(study)
    assert study.control is None
    assert len(results.effects(study)) == 7
    assert "difference" not in results.ablation(study)


def test_the_ablation_frame_is_what_the_runs_say(modules: Path) -> None:
    study = load(modules)
    frame = results.ablation(study).set_index("arm")
    toggles = {"anchor_loss": True, "embedding_norm": True, "noise_factor": 1.0}
    scores = [score_row(toggles, np.random.default_rng([seed, 1]), seed)["bleu"] for seed in (1, 2, 3)]
    row, full = frame.loc["anchor+norm+F1"], list(study.values("bleu", "anchor+norm+F4").values())
    assert row["bleu"] == pytest.approx(np.mean(scores))
    assert row["bleu_low"] == pytest.approx(mean_interval_t(scores).low)
    assert row["difference"] == pytest.approx(np.mean(scores) - np.mean(full))
    assert row["difference_high"] == pytest.approx(mean_interval_t(np.subtract(scores, full)).high)
    assert (row["n_seeds"], row["seeds"], row["toggle/noise_factor"]) == (3, "1 2 3", 1.0)
    assert np.isnan(frame.loc["anchor+norm+F4", "difference"])


def test_effects_by_arithmetic(modules: Path) -> None:
    study = load(modules)
    frame = results.effects(study).set_index("effect")
    mean = results.ablation(study).set_index("arm")["bleu"]
    on = mean[[name.startswith("anchor") for name in mean.index]].mean()
    off = mean[[name.startswith("rounding") for name in mean.index]].mean()
    assert frame.loc["anchor_loss", "estimate"] == pytest.approx(on - off)
    assert list(frame["order"]) == [1, 1, 1, 2, 2, 2, 3]
    assert frame.loc["anchor_loss", "verdict"] == "helps"
    assert set(frame["verdict"][3:]) <= {"reinforce", "overlap", "undecided"}


def test_effects_use_complete_seeds_only(tmp_path: Path) -> None:
    path = write_study(tmp_path, "modules", seeds=(1, 2, 3))
    before = results.effects(load(path))
    edit(next(path.glob("anchor+norm+F1-s3-*/run.json")), state="failed", reason="killed")
    study = load(path)
    after = results.effects(study)
    assert list(before["n_seeds"]) == [3] * 7
    assert list(after["n_seeds"]) == [2] * 7
    assert "as effects need: 1 2)" in "\n".join(tables.grids(study)[1])


def test_an_incomplete_factorial_falls_back_to_differences(tmp_path: Path) -> None:
    path = write_study(tmp_path, "modules", seeds=(1, 2))
    for run in path.glob("rounding+nonorm+F1-*/run.json"):
        edit(run, state="failed", reason="killed")
    study = load(path)
    assert results.effects(study).empty
    _, lines, arms, tested = tables.grids(study)
    assert len(arms) == 7
    assert set(tested["kind"]) == {"difference"}
    assert any("every combination" in line for line in lines)


def test_what_the_seeds_of_arms_have_in_common_is_said(tmp_path: Path) -> None:
    """Means are over an arm's own seeds, a difference over those of both: it is not the difference of the means."""
    path = write_study(tmp_path, "noise_factor", seeds=(1, 2, 3))
    even = "\n".join(tables.grids(load(path))[1])
    assert "Seeds: 1 2 3. " in even and "not the same in every arm" not in even
    edit(next(path.glob("F1-s3-*/run.json")), state="failed", reason="killed")
    _, lines, arms, tested = tables.grids(load(path))
    assert "Seeds: 1 2 3 (not the same in every arm: a difference is over those that both arms have)" in "\n".join(
        lines
    )
    means = arms.set_index("arm")["bleu"]
    assert tested.iloc[0]["estimate"] != pytest.approx(means["F1"] - means["F4"])
    for run in path.glob("F4-s[12]-*/run.json"):
        edit(run, state="failed", reason="killed")
    edit(next(path.glob("F1-s1-*/run.json")), state="finished")
    tested = tables.grids(load(path))[3].set_index("arm")
    assert tested.loc["F1", "n_seeds"] == 0 and tested.loc["F1", "verdict"] == "undecided"


def test_how_many_comparisons_are_corrected_together_is_said(tmp_path: Path) -> None:
    """Those that have a p: one without a spread has none and does not count."""
    path = write_study(tmp_path, "token_loss", seeds=(1, 2, 3))
    assert "Holm's correction among 3 differences" in "\n".join(tables.grids(load(path))[1])
    for scores in path.glob("none-*/scores.json"):
        twin = next(path.glob(f"anchor-{scores.parent.name.split('-')[1]}-*/scores.json"))
        edit(scores, bleu=json.loads(twin.read_text())["bleu"] - 60)
    lines = "\n".join(tables.grids(load(path))[1])
    assert "Holm's correction among 2 differences" in lines and "Undecided does not mean no effect." in lines
    for run in path.glob("[!a]*/run.json"):
        edit(run, state="failed", reason="killed")
    assert "(one difference: nothing to correct)" in "\n".join(tables.grids(load(path))[1])


def test_a_factorial_of_more_than_two_levels_says_why_it_has_no_effects(tmp_path: Path) -> None:
    path = write_study(tmp_path, "modules", seeds=(1, 2))
    info = json.loads((path / "study.json").read_text())
    edit(path / "study.json", factors=info["factors"] | {"noise_factor": [4.0, 2.0, 1.0]})
    study = load(path)
    assert results.effects(study).empty
    assert "they are computed only where every factor has two levels" in "\n".join(tables.grids(study)[1])


def test_a_study_of_one_factor_has_differences(tmp_path: Path) -> None:
    study = load(write_study(tmp_path, "noise_factor", seeds=(1, 2, 3)))
    frame = results.differences(study)
    assert list(frame["arm"]) == ["F1", "F2", "F3", "F6", "F8"]
    assert (frame["p_holm"] >= frame["p"]).all()
    undecided = frame["verdict"] == "undecided"
    assert (frame["seeds_needed"][undecided] > 3).all()
    assert frame["seeds_needed"][~undecided].isna().all()


def test_one_seed_gives_numbers_but_no_interval(tmp_path: Path) -> None:
    study = load(write_study(tmp_path, "modules", seeds=(4,)))
    shown, lines, arms, tested = tables.grids(study)
    assert arms["bleu"].notna().all()
    assert arms["bleu_low"].isna().all()
    assert set(tested["verdict"]) == {"undecided"}
    text = markdown(shown, lines)
    assert "(n/a)" in text
    assert "[" not in text.split("Effects:")[1].split("\n\n")[1].replace("[95% interval]", "")
    assert "One seed: no interval" in text


def test_markdown_has_provenance_and_whole_rows(modules: Path) -> None:
    shown, lines, _, _ = tables.grids(load(modules))
    text = markdown(shown, lines)
    for needed in (
        BANNER,
        "make sweep STUDY=modules",
        "1x1",
        "20,000/400/400",
        "Tuning: none",
        "Seeds: 1 2 3",
        "2.13.0",
        "Device: cpu (Some CPU @ 2.0GHz), threads per run: 1",
    ):
        assert needed in text
    assert SIGNATURE.replace("|", "\\|") in text
    for block in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in block.splitlines()}) == 1


def test_csv_keeps_full_precision_and_is_rewritten_identically(modules: Path, tmp_path: Path) -> None:
    study = load(modules)
    files = tables.write(study, tmp_path)
    assert {file.name for file in files} == {"table.md", "table.tex", "table.csv", "effects.csv", "power.csv"}
    with (tmp_path / "table.csv").open() as file:
        read = [float(row["bleu"]) for row in csv.DictReader(file)]
    assert read == results.ablation(study)["bleu"].tolist()
    before = {file: file.read_bytes() for file in files}
    tables.write(load(modules), tmp_path)
    assert before == {file: file.read_bytes() for file in files}


def test_a_result_row_carries_where_it_comes_from(modules: Path, tmp_path: Path) -> None:
    tables.write(load(modules), tmp_path)
    with (tmp_path / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    for row in rows:
        assert row["command"] == "make sweep STUDY=modules"
        assert row["signature"].startswith("nrefs:1|case:mixed")
        assert "20,000/400/400 train/valid/test pairs, 3 dropped (too long)" in row["data"]
        assert (row["tokenizer"], row["candidates"], row["decoding_steps"]) == ("words", "1x1", "20")
        assert (row["training"], row["tuning"]) == ("700 updates of 1024 tokens", "none, in any arm")
        assert (row["seeds"], row["commit"]) == ("1 2 3", "abcdef0")
        assert float(row["brevity_penalty"]) == pytest.approx(0.97)
        assert float(row["bleu_low"]) < float(row["bleu"]) < float(row["bleu_high"])


def test_the_terminal_table_fits_80_columns(modules: Path) -> None:
    out = StringIO()
    tables.show(load(modules), Console(file=out, width=80))
    assert max(map(len, out.getvalue().splitlines())) <= 80
    assert "[95%" in out.getvalue()
    assert BANNER in out.getvalue()
