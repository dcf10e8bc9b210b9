"""The Makefile: what it says, and what it passes on."""

import os
import re
import shutil
from pathlib import Path

import pytest
from making import MAKEFILE, ROOT, make, needs_make

CHECKS = ["test", "test-slow", "lint", "bench"]


@needs_make
def test_help_is_the_default_and_names_every_target_and_variable() -> None:
    shown = make("help").stdout
    assert make().stdout == shown
    targets = re.search(r"^COMMANDS :=(.*)$", MAKEFILE, re.M)
    assert targets is not None
    for target in targets[1].split():
        assert f"make {target} " in shown
    for variable in re.findall(r"^(\w+) *\?=", MAKEFILE, re.M):
        assert f"{variable}=" in shown or variable == "OMP_NUM_THREADS", variable


@needs_make
def test_sweep_passes_on_what_is_set_and_nothing_else() -> None:
    shown = make("-n", "sweep", "PY=python").stdout.splitlines()[-1]
    assert shown.split()[1:] == [
        "-m",
        "sweeps.study",
        "--study",
        '"modules"',
        "--runs",
        '"runs"',
        "--figures",
        '"figures"',
    ]
    given = ["STUDY=steps", "DATA=my data", "SRC=a", "TGT=b", "PRESET=small", "SEEDS=5", "WORKERS=2", "STORAGE=s"]
    shown = make("-n", "sweep", "PY=python", "ARGS=--dry-run", *given).stdout.rstrip()
    for option in ('--study "steps"', '--data "my data"', '--src "a"', '--tgt "b"', '--preset "small"', '--seeds "5"'):
        assert option in shown
    assert shown.endswith('--workers "2" --dry-run')


@needs_make
@pytest.mark.parametrize("target", ["sweep", "search", "worker"])
def test_the_storage_goes_by_the_environment_where_others_cannot_read_it(target: str, tmp_path: Path) -> None:
    asked = tmp_path / "python"
    asked.write_text('#!/bin/sh\n[ "$1" = -m ] || exit 0\necho "storage: $SWEEP_STORAGE arguments: $*"\n')
    asked.chmod(0o755)
    shown = make(target, f"PY={asked}", "STORAGE=postgresql://me:secret@host/db", "DATA=my text").stdout
    line = shown.splitlines()[-1]
    assert "storage: postgresql://me:secret@host/db" in line and "secret" not in line.split("arguments:")[1]
    assert "secret" not in "".join(shown.splitlines()[:-1]) and "--data my text" in line


@needs_make
def test_distill_passes_on_what_is_set_and_nothing_else() -> None:
    shown = make("-n", "distill", "PY=python").stdout.splitlines()[-1]
    assert shown.split()[1:] == ["-m", "ablations.distill"]
    given = ["DATA=my data", "SRC=a", "TGT=b", "PRESET=small", "OUT=my new data", "ARGS=--beam 4"]
    shown = make("-n", "distill", "PY=python", *given).stdout.rstrip()
    assert shown.endswith('--data "my data" --src "a" --tgt "b" --preset "small" --out "my new data" --beam 4')


@needs_make
@pytest.mark.parametrize("target", ["sweep", "distill", "search", "worker", "figures", *CHECKS])
def test_every_command_runs_without_any_setting(target: str, tmp_path: Path) -> None:
    willing = tmp_path / "python"
    willing.write_text("#!/bin/sh\nexit 0\n")
    willing.chmod(0o755)
    done = make(target, f"PY={willing}")
    assert done.returncode == 0, done.stderr


@needs_make
@pytest.mark.parametrize("target", ["sweep", "distill", "figures", *CHECKS])
def test_a_failing_command_fails_make(target: str, tmp_path: Path) -> None:
    failing = tmp_path / "python"
    failing.write_text('#!/bin/sh\n[ "$1" = -m ] || exit 0\nexit 7\n')
    failing.chmod(0o755)
    assert make(target, f"PY={failing}").returncode != 0


@needs_make
@pytest.mark.parametrize(("target", "more"), [("figures", ""), ("report", " --draw report")])
def test_figures_and_report_come_from_run_folders_or_from_wandb(target: str, more: str) -> None:
    def asked(*given: str) -> str:
        return " ".join(make("-n", target, "PY=python", *given).stdout.splitlines()[-1].split())

    assert asked("STUDY=my study") == f'"python" -m analysis.{target} "runs/my study" --out "{target}"'
    fetched = f'"python" -m sweeps.fetch "my runs/x.wandb" --to "runs/.fetched"{more} --out "{target}"'
    assert asked("FROM=my runs/x.wandb") == fetched
    assert f'"wandb:a/b" --study "steps" --to "elsewhere/.fetched"{more} --out' in asked(
        "FROM=wandb:a/b", "STUDY=steps", "RUNS=elsewhere"
    )


@needs_make
@pytest.mark.parametrize(
    ("given", "way"),
    [
        ("SEED=3", "Did you mean SEEDS=?"),
        ("seeds=3", "Did you mean SEEDS=?"),
        ("STUDIES=a b", "Did you mean STUDY=?"),
        ("UPDATES=3", 'ARGS="--set updates=VALUE"'),
        ("HTTPS_PROXI='x'", "HTTPS_PROXI=VALUE make"),
    ],
)
def test_a_setting_that_is_none_is_refused_with_the_nearest(given: str, way: str) -> None:
    done = make("-n", "sweep", "PY=python", given)
    assert done.returncode != 0 and done.stdout == ""
    assert f"{given.partition('=')[0]}= is not a variable of this Makefile" in done.stderr and way in done.stderr
    assert ("Did you mean" in done.stderr) == ("Did you mean" in way)


@needs_make
def test_without_a_python_the_names_are_listed(tmp_path: Path) -> None:
    assert "Did you mean sweep?" in make("sweeep").stderr
    for name in ("make", "sh", "tr"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    assert "There are: ARGS BUDGET DATA" in make("-n", "sweep", "SEED=3", "PY=nowhere", PATH=str(tmp_path)).stderr
    assert "There are: help setup sweep" in make("sweeep", "PY=nowhere", PATH=str(tmp_path)).stderr


PROGRAMS = ["sweep", "distill", "search", "worker", "wandb-sweep", "figures", "report", "dashboard"]
PROGRAMS += [check for check in CHECKS if check != "lint"]
INSTALLATION = {"PYTHON", "VENV", "PY", "TORCH_INDEX", "PIP_ARGS"}


@needs_make
@pytest.mark.parametrize("target", PROGRAMS)
def test_a_setting_that_a_command_does_not_read_is_refused(target: str, tmp_path: Path) -> None:
    """What a command reads is what changes its command line or its environment when it is given."""
    teller = tmp_path / "python"
    teller.write_text('#!/bin/sh\necho "$@" "storage $SWEEP_STORAGE"\n')
    teller.chmod(0o755)
    for name in set(re.findall(r"^(\w+) *\?=", MAKEFILE, re.M)) - INSTALLATION - {"OMP_NUM_THREADS"}:
        done = make(target, f"PY={teller}", f"{name}=marked")
        if done.returncode == 0:
            assert "marked" in done.stdout, name
        else:
            assert f"`make {target}` does not read {name}=" in done.stderr


@needs_make
def test_goals_share_their_settings_and_go_in_their_order(tmp_path: Path) -> None:
    assert make("-n", "sweep", "report", "PY=python", "SEEDS=2", "REPORT=r").returncode == 0
    slow = tmp_path / "python"
    slow.write_text(
        f'#!/bin/sh\n[ "$1" = -m ] || exit 0\n[ "$2" = sweeps.study ] && sleep 1\necho "$2" >> "{tmp_path}/log"\n'
    )
    slow.chmod(0o755)
    assert make("-j4", "sweep", "report", f"PY={slow}").returncode == 0
    assert (tmp_path / "log").read_text().split() == ["sweeps.study", "analysis.report"]


@needs_make
def test_what_programs_read_from_the_environment_may_stand_on_the_line() -> None:
    given = ["WANDB_MODE=offline", "CUDA_VISIBLE_DEVICES=0", "OMP_NUM_THREADS=2", "PY=python"]
    known = make("-n", "sweep", *given)
    assert known.returncode == 0 and known.stderr == ""


@needs_make
def test_the_two_test_commands_run_every_test_once() -> None:
    def marked(target: str) -> str:
        return make("-n", target, "PY=python").stdout.splitlines()[-1].partition(" -m pytest ")[2]

    assert '-m "not slow"' in marked("test")
    assert marked("test-slow") == marked("test").replace('"not slow"', "slow")


def test_clean_spares_what_took_work() -> None:
    recipe = MAKEFILE.split("\nclean:\n")[1]
    assert not re.search(r"\b(runs|results|wandb)\b|\$\(", recipe.replace("$(PY)", ""))


def test_ci_runs_lint_and_tests() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert [line for line in script.read_text().splitlines() if line.startswith("stage ")] == [
        "stage setup",
        "stage lint",
        "stage test",
        "stage test-slow",
    ]
