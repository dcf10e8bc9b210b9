"""Run folders, whole and broken, into frames."""

import json
from pathlib import Path

import pytest
from fake_runs import edit, write_study

from analysis import effects, results, tables
from analysis.load import load
from core.errors import UserError
from core.run_folder import try_read


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
    with pytest.raises(UserError, match=r"study\.json is unreadable"):
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
    rows, complaint = try_read(file)
    assert (len(rows), complaint) == (text.count("\n") - 1, "has 1 broken line")
    study = load(path)
    assert any("metrics.jsonl has 1 broken line" in note for note in study.notes)


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
    assert effects.is_factorial(study)
    assert study.control is None
    assert len(results.effects(study)) == 7
    assert "difference" not in results.ablation(study)
