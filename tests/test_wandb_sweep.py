"""A study as a sweep file: the same runs as the study's own sweep; arms from a command line; edited files kept."""

import fcntl
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ablations import presets, records, studies
from ablations.ranges import Levels, Range
from core.config import RunConfig, flat, with_values
from core.errors import UserError, command
from sweeps import arm, wandb_sweep
from sweeps.running import plan, prepare, recipe, report, write_sweep
from sweeps.running.options import SweepOptions
from sweeps.running.plan import Job
from sweeps.running.point_runs import run_of, runs_of
from sweeps.running.progress import View
from sweeps.running.write_sweep import FileOptions
from sweeps.wb import sweep_file
from sweeps.wb.sweep_file import SweepFile
from sweeps.wb.sweep_points import parameters, points

ROOT = Path(__file__).parents[1]
SMOKE = {"preset": "smoke"}


def described(**options: Any) -> SweepFile:
    """The sweep file of these options, read back from its text."""
    asked = FileOptions(**options)
    file = sweep_file.parse(Path("s.yaml"), write_sweep.render(write_sweep.describe(asked), asked))
    sweep_file.check_program(file)
    sweep_file.check(file)
    return file


def by_folder(file: SweepFile) -> dict[str, Job]:
    """The runs of a sweep file, by the names of their folders."""
    return {str(made.job.folder(made.runs)): made.job for made in runs_of(file, Path("runs"))}


def plain(**options: Any) -> dict[str, Job]:
    """The runs of the study's own sweep."""
    sweep, _ = prepare.prepare(SweepOptions(**options), "sweeps.study")
    return {str(job.folder(sweep.runs)): job for job in sweep.jobs}


@pytest.mark.parametrize("name", studies.STUDIES)
def test_every_study_gives_the_runs_of_its_own_sweep(name: str) -> None:
    assert by_folder(described(study=name, seeds=2, **SMOKE)) == plain(study=name, seeds=2, **SMOKE)


def test_text_options_and_preset_too(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        for suffix in ("a", "b"):
            (tmp_path / f"{split}.{suffix}").write_text("".join(f"one two {i}\n" for i in range(40)))
    given: dict[str, Any] = {"data": str(tmp_path), "src": "a", "tgt": "b", "study": "norm", "preset": "smoke"}
    given |= {"overrides": ("updates=3", "lr=1e-3"), "runs": Path("elsewhere")}
    found = by_folder(described(**given))
    assert found == plain(**given)
    assert all(folder.startswith("elsewhere/norm-") and "-lr=0.001-updates=3/" in folder for folder in found)


def test_the_optuna_sweep_of_a_file_has_the_facts_of_the_study(tmp_path: Path) -> None:
    asked = FileOptions(study="noise_factor", seeds=1, preset="smoke")
    path = tmp_path / "f.yaml"
    path.write_text(write_sweep.render(write_sweep.describe(asked), asked))
    (mine, _), (its, _) = (
        prepare.prepare(SweepOptions(study=str(path)), "sweeps.study"),
        prepare.prepare(SweepOptions(study="noise_factor", seeds=1, preset="smoke"), "sweeps.study"),
    )
    assert mine.queue == its.queue and mine.jobs == its.jobs and mine.storage == its.storage
    assert {**mine.facts, "command": ""} == {**its.facts, "command": ""}
    with pytest.raises(UserError, match=r"--seeds: the sweep file .*f.yaml says this"):
        prepare.prepare(SweepOptions(study=str(path), seeds=3), "sweeps.study")


# Searches


@pytest.mark.parametrize("name", ["modules", "steps"])
def test_a_search_draws_what_the_study_leaves_open_within_its_ranges(name: str) -> None:
    file = described(study=name, search="random", points=25, **SMOKE)
    made = runs_of(file, Path("runs"))
    assert len({one.job.key for one in made}) == 25 and {one.job.study for one in made} == {f"{name}-smoke-random"}
    default = presets.get("smoke").config.training
    for one in made:
        assert default.lr / 4 <= one.job.config["lr"] <= default.lr * 4
        assert 0 <= one.job.config["dropout"] <= 0.3 and isinstance(one.job.config["warmup"], int)
    drawn = {parameter.name for parameter in parameters(file) if parameter.distribution != "constant"}
    assert ("steps" in drawn) and drawn >= {"lr", "warmup", "dropout", "decoding_noise_factor", "seed"}
    assert len(points(file)) == 25
    assert not plan.comparable([one.job for one in made])


def test_runs_that_differ_in_more_than_their_arm_are_ranked(capsys: Any) -> None:
    jobs = [made.job for made in runs_of(described(study="norm", search="random", points=12, **SMOKE), Path("runs"))]
    assert plan.comparable(list(plain(study="norm", seeds=2, **SMOKE).values()))
    report.show_ranking(
        [View(job, "finished", score=float(i)) for i, job in enumerate(jobs)] + [View(jobs[0], "failed")]
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["11.00", jobs[11].key] and len(lines) == 12 and "make search" in lines[-1]


def test_ranges_in_wandbs_words() -> None:
    written: dict[Range | Levels, dict[str, Any]] = {
        Range(0.1, 1.0, log=True): {"distribution": "log_uniform_values", "min": 0.1, "max": 1.0},
        Range(2, 8, log=True, whole=True): {"distribution": "q_log_uniform_values", "min": 2, "max": 8, "q": 1},
        Range(0, 1): {"distribution": "uniform", "min": 0.0, "max": 1.0},
        Range(0, 3, whole=True): {"distribution": "int_uniform", "min": 0, "max": 3},
        Levels((5, 10)): {"values": [5, 10]},
    }
    assert {dimension: write_sweep.as_wandb(dimension) for dimension in written} == written


def test_no_points_is_no_number_of_points() -> None:
    with pytest.raises(UserError, match="--points 0: must be at least 1"):
        write_sweep.describe(FileOptions(preset="smoke", search="random", points=0))


def test_points_of_several_studies_are_refused() -> None:
    head = "method: grid\nprogram: sweeps/arm.py\nparameters:\n  study: {value: self_conditioning}\n"
    file = sweep_file.parse(
        Path("s.yaml"),
        f"{head}  preset: {{value: smoke}}\n  self_conditioning: {{value: true}}\n  lr: {{values: [0.1, 0.2]}}\n",
    )
    with pytest.raises(UserError, match=r"s.yaml:3: the points belong to 2 studies .*folder: \{value: NAME\}"):
        runs_of(file, Path("runs"))


# The file


def test_a_file_that_somebody_edited_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "s.yaml"
    for seeds in (1, 2):
        asked = FileOptions(study="norm", seeds=seeds, preset="smoke")
        write_sweep.write(path, write_sweep.render(write_sweep.describe(asked), asked), overwrite=False)
        assert f"values: {list(range(1, seeds + 1))}" in path.read_text(), "made anew, nobody's work is lost"
    text = path.read_text()
    for change in (text.replace("[1, 2]", "[1, 2, 7]"), text + "# mine\n", text.replace("# digest", "#"), ""):
        path.write_text(change)
        with pytest.raises(UserError, match=r"s.yaml: was edited since it was made.*--overwrite"):
            write_sweep.write(path, text, overwrite=False)
        assert path.read_text() == change
    write_sweep.write(path, text, overwrite=True)
    assert path.read_text() == text and [p.name for p in path.parent.iterdir()] == ["s.yaml"]


def test_without_a_server_it_says_so_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["x", "--study", "norm", "--preset", "smoke"])
    assert wandb_sweep.main() == 0
    said = capsys.readouterr().out
    assert "-m sweeps.agent sweeps/wandb/norm-smoke.yaml --workers" in said and "not registered: no key" in said
    assert "wandb sweep sweeps/wandb/norm-smoke.yaml" in said
    monkeypatch.setattr(sys, "argv", ["x", "--search", "bayes"])
    with pytest.raises(UserError, match="--search bayes: W&B's server chooses"):
        wandb_sweep.main()


# Arms


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["--a=True", "--b=4.0", "c=x=y"], {"a": True, "b": 4.0, "c": "x=y"}),
        (["--a", "3", "--b", "--c", "None"], {"a": 3, "b": True, "c": None}),
        (['{"a": false, "b": [1]}', "--a=1"], {"a": 1, "b": [1]}),
    ],
)
def test_the_forms_of_a_command_line(arguments: list[str], found: dict[str, Any]) -> None:
    assert arm.values(arguments) == found


MODULES = {"study": "modules", "anchor_loss": True, "embedding_norm": False, "noise_factor": 4, "preset": "smoke"}


def test_where_a_factor_and_an_option_share_a_name_it_is_the_studys_factor() -> None:
    job = run_of(MODULES | {"seed": 3}).job
    assert (job.arm, job.seed, job.config["embedding_norm"]) == ("anchor+nonorm+F4", 3, "none")
    assert job.toggles == {"anchor_loss": True, "embedding_norm": False, "noise_factor": 4.0}
    assert isinstance(job.toggles["noise_factor"], float), "W&B's server sends 4 for 4.0"
    other = {"study": "self_conditioning", "self_conditioning": True, "preset": "smoke"}
    assert run_of(other | {"embedding_norm": "none"}).job.config["embedding_norm"] == "none", "the option"
    assert run_of(other | {"anchor_loss": False}).job.config["token_loss"] == "rounding", "a factor that is no option"
    assert run_of(other | {"updates": 3}).job.study == "self_conditioning-smoke-updates=3"
    assert run_of(other | {"updates": 3, "folder": "mine"}).job.study == "mine"


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"study": "modlues"}, "unknown study 'modlues'. Did you mean 'modules'"),
        ({"anchor_loss": 1}, "--anchor_loss: 1 is no level of this factor"),
        ({"noise_factor": 5}, "--noise_factor: 5 is no level of this factor"),
        ({"seed": 2**31}, "--seed: must be a whole number from 1 to 2147483647; it is 2147483648"),
        ({"noise_factor": None}, "--noise_factor: None is no level"),
        ({"token_loss": "none"}, "--token_loss: study modules varies it itself"),
        ({"updtaes": 3}, "--updtaes: no such option. Did you mean 'updates'"),
        ({"updates": "many"}, "option updates: expected int, got 'many'"),
        ({"seed": 0}, "--seed: must be a whole number"),
        ({"seed": 1.5}, "--seed: must be a whole number"),
        ({"preset": "smok"}, "unknown preset 'smok'"),
        ({"src": "fr"}, "name the folder of text too"),
        ({"folder": "a/b"}, "--folder a/b: names a folder"),
    ],
)
def test_a_wrong_arm_is_refused(change: Mapping[str, Any], wrong: str) -> None:
    with pytest.raises(UserError, match=wrong):
        run_of({**MODULES, **change})


def test_a_missing_level_is_asked_for() -> None:
    with pytest.raises(UserError, match=r"--noise_factor is missing: study modules varies it; its levels are 1\.0"):
        run_of({name: value for name, value in MODULES.items() if name != "noise_factor"})


def test_an_arm_that_another_process_runs_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    folder = run_of(MODULES).job.create(tmp_path)
    other = open(folder / "lock", "w")  # noqa: SIM115 (closed when the arm waits)
    fcntl.flock(other, fcntl.LOCK_EX)
    monkeypatch.setattr(arm.time, "sleep", lambda seconds: other.close() if seconds == arm.POLL_SECONDS else None)
    assert arm.claim(folder) and "another process runs this arm" in capsys.readouterr().out
    records.finish(folder)
    records.release(folder)
    assert not arm.claim(folder), "and it is not made twice"


def test_engines_can_share_a_folder(tmp_path: Path) -> None:
    made = [run_of({**MODULES, "seed": seed}) for seed in (2, 1)]
    for one in made:
        recipe.enroll(tmp_path, one.recipe.facts([one.job], f"seed {one.job.seed}"))
    facts = json.loads((tmp_path / "study.json").read_text())
    assert facts["seeds"] == [1, 2] and facts["runs"] == [one.job.key for one in made] and facts["command"] == "seed 2"
    assert facts["control"] == "anchor+norm+F4" and len(facts["arms"]) == 8


def test_the_program_can_be_started_by_its_path(tmp_path: Path) -> None:
    line = [sys.executable, str(ROOT / "sweeps" / "arm.py")]
    done = subprocess.run([*line, "--sede=1"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and done.stderr.startswith("error: --anchor_loss is missing")
    assert not list(tmp_path.iterdir())


def test_an_arm_that_fails_says_why_and_has_it_in_its_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    given = {**MODULES, "runs": str(tmp_path)}
    monkeypatch.setattr(sys, "argv", ["arm", *(f"--{name}={value}" for name, value in given.items())])

    def fail(*_: Any) -> None:
        raise RuntimeError("no luck")

    assert command(lambda: arm.main(fail))() == 1
    assert "failed: RuntimeError: no luck" in capsys.readouterr().err
    (path,) = tmp_path.glob("modules-smoke/*/run.json")
    record = records.read(path.parent)
    assert (record["state"], record["reason"]) == ("failed", "RuntimeError: no luck") and not records.busy(path.parent)


@pytest.mark.parametrize("name", list(studies.STUDIES))
def test_every_arm_of_every_study_comes_back_from_its_command_line(name: str) -> None:
    """Also levels called none, true or 4: what an agent writes on a command line means the arm that it came from."""
    for wanted in studies.get(name).arms:
        line = [f"--{factor}={level}" for factor, level in wanted.toggles.items()]
        found = run_of({"study": name, "preset": "smoke"} | arm.values(line))
        assert (found.job.arm, found.job.toggles) == (wanted.name, dict(wanted.toggles))


def test_none_is_a_word_where_an_option_has_it() -> None:
    config = flat(with_values(RunConfig(), {"token_loss": None, "embedding_norm": None, "decoding_schedule": None}))
    assert config["token_loss"] == config["embedding_norm"] == "none" and config["decoding_schedule"] is None
