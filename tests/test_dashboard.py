"""Dashboards as code: the workspace's and the report's JSON, the same on a server, and what is said when it fails."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import wandb_workspaces.reports.v2 as wr
from fake_runs import edit, write_study
from standin import Server

from ablations import records
from core.errors import UserError
from sweeps import dashboard, extras
from sweeps.dashboards import boards, facts, story, views, workspace
from sweeps.dashboards.facts import Facts
from sweeps.wb import connection, tracking

WHEN = "2026-11-25 12:00 UTC"
SECTIONS = ["Quality", "Collapse", "Embedding norms", "Per-step loss", "Decoding", "Cost"]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study of eight arms with two seeds, whose folder has the sign that W&B's filters stumble over."""
    folder = write_study(tmp_path_factory.mktemp("runs"), "modules", seeds=(1, 2))
    renamed = folder.rename(folder.with_name("modules-updates=300"))
    edit(renamed / "study.json", study="modules-updates=300")
    return renamed


@pytest.fixture(scope="module")
def read(study: Path) -> Facts:
    """What a dashboard knows of it."""
    return facts.read(study)


@pytest.fixture(scope="module")
def written(read: Facts, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """workspace.json and report.json."""
    paths = views.write(read, tmp_path_factory.mktemp("dashboard"), "p", WHEN)
    return {path.stem: json.loads(path.read_text("utf-8")) for path in paths}


def section_of(written: dict[str, Any]) -> dict[str, Any]:
    """The part of the workspace that has everything."""
    found = written["workspace"]["spec"]["section"]
    assert isinstance(found, dict)
    return found


def panels(written: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Section and panel."""
    for section in section_of(written)["panelBankConfig"]["sections"]:
        for panel in section["panels"]:
            yield section["name"], panel


# The workspace


def test_the_validation_panel_is_of_the_score_that_the_study_is_judged_by(read: Facts) -> None:
    made = workspace.sections(replace(read, metric="chrf"))["Quality"]
    shown = [str(panel.y[0]) for panel in made if isinstance(panel, wr.LinePlot)]
    assert shown == ["val/chrf", "val/nll"]
    assert any(panel.title == "BLEU" for panel in made if isinstance(panel, wr.BarPlot))


def test_the_runs_are_those_of_the_study_grouped_by_its_toggles(written: dict[str, Any]) -> None:
    (runs,) = section_of(written)["runSets"]
    (only,) = runs["filters"]["filters"]
    assert only["key"] == {"section": "run", "name": "group"} and only["op"] == "="
    assert only["value"] == "modules-updates=300"
    names = [each["name"] for each in runs["grouping"]]
    assert names == ["anchor_loss.value", "embedding_norm.value", "noise_factor.value"]


def test_every_section_is_there_and_every_line_has_its_own_axis(written: dict[str, Any]) -> None:
    assert list(dict.fromkeys(name for name, _ in panels(written))) == SECTIONS
    steps = {"train": "train/step", "val": "train/step", "diag": "train/step"}
    steps |= {"per_step": "per_step/t", "by_steps": "by_steps/steps"}
    lines = [p["config"] for _, p in panels(written) if p["viewType"] == "Run History Line Plot"]
    assert {metric.split("/")[0] for each in lines for metric in each["metrics"]} == set(steps)
    for each in lines:
        assert {each["xAxis"]} == {steps[metric.split("/")[0]] for metric in each["metrics"]}
        assert (each["groupAgg"], each["groupArea"]) == ("mean", "minmax")


def test_what_the_panels_ask_for_is_what_runs_log(written: dict[str, Any], study: Path) -> None:
    run = next(study.glob("*/run.json")).parent
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    logged = {key for row in rows for key in row}
    scores, record = (json.loads((run / f"{name}.json").read_text()) for name in ("scores", "run"))
    known = {f"test/{key}" for key in scores} | {f"by_steps/{key}" for key in scores["by_steps"][0]}
    known |= {f"cost/{key}" for key in record["cost"]} | {f"per_step/{key}" for key in ("mse", "nll", "accuracy")}
    known |= {
        "per_step/nearest",
        "per_step/nearest_F1",
        "diag/scale",
        "cost/train_tokens_per_s",
    }  # not in the made-up run
    asked = [m for _, p in panels(written) for m in p["config"].get("metrics", [])]
    assert len(asked) > 25
    assert set(asked) <= logged | known


def test_arms_have_the_colours_of_our_figures(written: dict[str, Any], read: Facts) -> None:
    colors = section_of(written)["customRunColors"]
    groups = {key: color for key, color in colors.items() if key.startswith("run-color-group:")}
    assert sorted(groups.values()) == sorted(read.colors.values()) and len(set(groups.values())) == 8
    assert len(colors) - len(groups) == len(read.runs) == 16
    assert read.colors["anchor+norm+F4"] == "#000000"


def test_runs_are_named_as_the_tracker_names_them(study: Path, read: Facts) -> None:
    for path in study.glob("*/run.json"):
        record = records.read(path.parent) | {"study": read.name}
        assert read.runs[path.parent.name] == tracking.identity(record)


def test_runs_of_an_agent_are_shown_too(study: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(study, tmp_path / study.name)
    key = "anchor+norm+F4-s1-00000001"
    edit(copied / key / "run.json", wandb={"id": "swept-0-a1", "group": "a sweep", "sweep": "swept"})
    read = facts.read(copied)
    made = workspace.workspace(read, "", "p")._to_model().model_dump(mode="json", by_alias=True, exclude_none=True)
    (only,) = made["spec"]["section"]["runSets"][0]["filters"]["filters"]
    assert (only["op"], only["value"]) == ("IN", ["a sweep", "modules-updates=300"])
    assert made["spec"]["section"]["customRunColors"]["swept-0-a1"] == read.colors["anchor+norm+F4"]


def test_no_number_differs_when_it_is_written_again(read: Facts, tmp_path: Path, written: dict[str, Any]) -> None:
    for path in views.write(read, tmp_path, "p", WHEN):
        assert json.loads(path.read_text("utf-8")) == written[path.stem]


# The report


def texts(node: Any) -> Iterator[str]:
    """All texts of a report, Markdown included."""
    if isinstance(node, dict):
        yield from (str(node[key]) for key in ("text", "content") if isinstance(node.get(key), str))
        for each in node.values():
            yield from texts(each)
    elif isinstance(node, list):
        for each in node:
            yield from texts(each)


def test_the_report_tells_the_story(written: dict[str, Any], read: Facts) -> None:
    blocks = written["report"]["spec"]["blocks"]
    heads = [next(texts(block)) for block in blocks if block["type"] == "heading"]
    assert heads[:5] == ["Question", "Arms", "Results", "The paper's claims", "Quality by toggle"]
    assert heads[5:10] == SECTIONS[1:] and heads[10:] == ["How to read the verdicts", "Where the numbers come from"]
    assert sum(block["type"] == "panel-grid" for block in blocks) == len(SECTIONS)
    everything = "\n".join(texts(blocks))
    assert f"a snapshot of {WHEN}, with 16 of 16 runs finished" in everything
    assert "| claim | verdict | effect [95% interval] | why |" in everything and "| undecided |" in everything
    assert "| anchor loss |" in everything and "verdict" in everything and "Holm" in everything
    assert "What does each of the paper's three ingredients buy" in everything
    assert "Embedded corpus: a test bench" in everything


def test_names_that_look_like_markup_stay_text() -> None:
    assert story.bullets(["a*b <i> |x| `y`"]) == "- a\\*b \\<i> \\|x\\| \\`y\\`"


def test_titles_have_no_sign_that_is_refused(read: Facts) -> None:
    assert workspace.title(read) == "Ablation: modules-updates 300"
    assert read.name in story.mark(read)


# On a server


def without_project(spec: Any) -> Any:
    """The spec of a report without what only a server knows: whose project its run sets belong to."""
    if isinstance(spec, dict):
        return {key: without_project(value) for key, value in spec.items() if key != "project"}
    return [without_project(each) for each in spec] if isinstance(spec, list) else spec


def test_the_server_gets_what_is_written_offline_and_is_updated(
    read: Facts, wandb_server: Server, written: dict[str, Any]
) -> None:
    backend = wandb_server.backend
    first = views.save(read, None, "p", WHEN)
    second = views.save(read, None, "p", "later")
    assert first == second and all(address.startswith(wandb_server.url) for address in first)
    saved = {view["type"]: view for view in backend.views.values()}
    assert len(backend.views) == 2 and backend.calls["UpsertView2"] == backend.calls["upsertView"] == 2
    assert saved["project-view"]["spec"] == written["workspace"]["spec"]
    assert saved["project-view"]["displayName"] == saved["runs"]["displayName"] == "Ablation: modules-updates 300"
    assert "a snapshot of later" in "\n".join(texts(saved["runs"]["spec"]))
    backend.views.clear()
    views.save(read, None, "p", WHEN)
    (spec,) = (view["spec"] for view in backend.views.values() if view["type"] == "runs")
    assert without_project(spec) == without_project(written["report"]["spec"])
    assert backend.projects == {"p"} and backend.unknown == []


def test_a_report_of_somebody_else_with_the_same_title_is_left_alone(read: Facts, wandb_server: Server) -> None:
    views.save(read, None, "p", WHEN)
    theirs = next(view for view in wandb_server.backend.views.values() if view["type"] == "runs")
    theirs["description"] = "mine"
    views.save(read, None, "p", WHEN)
    assert theirs["description"] == "mine" and len(wandb_server.backend.views) == 3


def test_a_server_that_vanished_is_not_waited_for(read: Facts, wandb_server: Server) -> None:
    wandb_server.stop()
    with pytest.raises(UserError, match=r"not saved \(no answer in 1 s\). It is there as JSON"):
        views.in_time(lambda: views.save(read, None, "p", WHEN), "not saved", "It is there as JSON", 1.0)


def test_why_saving_failed_is_said() -> None:
    def refuse() -> list[str]:
        raise ValueError("not yours")

    with pytest.raises(UserError, match=r"not saved \(ValueError: not yours\). Kept"):
        views.in_time(refuse, "not saved", "Kept")


# The command


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """python -m sweeps.dashboard."""
    line = [sys.executable, "-m", "sweeps.dashboard", *arguments]
    return subprocess.run(line, capture_output=True, text=True, env=os.environ | environment, timeout=240)


@pytest.mark.slow
def test_the_command_saves_to_a_server(study: Path, wandb_server: Server, tmp_path: Path) -> None:
    done = command(str(study), "--out", str(tmp_path), WANDB_PROJECT="Größe & mehr", WANDB_ENTITY="team")
    assert done.returncode == 0, done.stderr
    place = f"{wandb_server.url}/team/Gr%C3%B6%C3%9Fe%20&%20mehr"
    assert f"workspace: {place}?nw=" in done.stdout and f"report: {place}/reports/" in done.stdout
    assert {view["entityName"] for view in wandb_server.backend.views.values()} == {"team"}
    assert (tmp_path / study.name / "workspace.json").exists()


def test_it_says_that_the_server_is_gone(
    read: Facts, wandb_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb_server.stop()
    monkeypatch.setattr(connection, "server", lambda: wandb_server.url)
    with pytest.raises(UserError, match=rf"{wandb_server.url} does not answer. {tmp_path} has both as JSON"):
        views.save_patiently(read, "p", WHEN, tmp_path)


@pytest.mark.slow
def test_without_a_server_and_unserved_the_report_is_drawn_once(study: Path, tmp_path: Path) -> None:
    made = ("--report", str(tmp_path / "report"), "--out", str(tmp_path / "out"))
    done = command(str(study), *made, "--no-serve", "--no-browser", WANDB_MODE="offline")
    assert done.returncode == 0, done.stderr
    assert f"our report: {(tmp_path / 'report' / 'index.html').as_uri()}\n" in done.stdout
    assert {path.name for path in (tmp_path / "out" / study.name).iterdir()} == {"workspace.json", "report.json"}


def test_an_unknown_study_is_named_with_those_there(study: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no study folder .*mudules.* did you mean .*modules-updates=300\?"):
        facts.read(study.with_name("mudules"))
    with pytest.raises(UserError, match="make sweep"):
        facts.read(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no runs in"):
        facts.read(tmp_path / "empty")


def test_a_study_without_a_result_is_built_to_be_filled(study: Path, tmp_path: Path, written: dict[str, Any]) -> None:
    (tmp_path / study.name).mkdir()
    (tmp_path / study.name / "study.json").write_bytes((study / "study.json").read_bytes())
    begun = facts.read(tmp_path / study.name)
    assert begun.results == 0 and len(begun.runs) == 16
    paths = views.write(begun, tmp_path / "dashboard", "p", WHEN)
    assert json.loads(paths[0].read_text("utf-8")) == written["workspace"]
    assert f"No results yet as of {WHEN}: no runs in" in "\n".join(texts(json.loads(paths[1].read_text("utf-8"))))


# Optional packages


@pytest.mark.parametrize("found", ["0.3.9", "0.4.12", "0.4"])
def test_an_old_package_is_named(found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "version", lambda name: found)
    with pytest.raises(UserError, match=rf"the workspace needs wandb-workspaces 0.4.13 or later, and {found} is inst"):
        extras.need("wandb_workspaces", "wandb-workspaces", "the workspace", dashboard.NEEDED)


def test_a_package_that_is_not_there_is_named_with_the_way_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    install = r"not installed: python -m pip install optuna-dashboard \(or `make setup`\)"
    with pytest.raises(UserError, match=f"the dashboard needs optuna-dashboard, which is {install}"):
        boards.board("trials.journal", None)


def test_what_a_package_itself_misses_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_extra.py").write_text("import no_such_module_at_all")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"needs broken-extra, which is not usable here .*no_such_module_at_all"):
        extras.need("broken_extra", "broken-extra", "the test")
