"""The Makefile: what it says, and what it passes on."""

import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from making import MAKEFILE, ROOT, make, needs_make, pretender

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


TELLS = """for word; do printf '<%s>' "$word"; done; echo " storage <$SWEEP_STORAGE>\""""
"""A program that says what it was given."""


def given(tmp_path: Path, *arguments: str, **variables: Any) -> list[str]:
    """What the last program that make starts is given: its words, and its storage."""
    done = make(*arguments, f"PY={pretender(tmp_path, TELLS)}", **variables)
    assert done.returncode == 0, done.stderr
    return re.findall(r"<(.*?)>", done.stdout.splitlines()[-1])


@needs_make
def test_sweep_passes_on_what_is_set_and_nothing_else(tmp_path: Path) -> None:
    bare = ["-m", "sweeps.study", "--study=modules", "--runs=runs", "--figures=figures", ""]
    assert given(tmp_path, "sweep") == bare
    settings = ["STUDY=steps", "DATA=my data", "SRC=a", "TGT=b", "PRESET=small", "SEEDS=5", "WORKERS=2", "STORAGE=s"]
    words = given(tmp_path, "sweep", "ARGS=--dry-run", *settings)
    text = ["--data=my data", "--src=a", "--tgt=b", "--preset=small", "--seeds=5"]
    assert words == [*bare[:2], "--study=steps", "--runs=runs", *text, "--figures=figures", "--workers=2", *words[-2:]]
    assert words[-2:] == ["--dry-run", "s"]


HOSTILE = """a $HOME $(shell touch {0}) `touch {0}`; touch {0} & "q" 's $$ \\ #x ${{PY}} %"""
VALUES = ["DATA", "SRC", "TGT", "STUDY", "SEEDS", "PRESET", "WORKERS", "RUNS", "FIGURES", "BUDGET", "STORAGE"]


@needs_make
@pytest.mark.parametrize("by", ["line", "environment"])
def test_values_reach_the_program_unchanged_and_run_nothing(by: str, tmp_path: Path) -> None:
    value = HOSTILE.format(tmp_path / "ran")
    for goal, names in (
        ("search", VALUES),
        ("report", ["FROM", "REPORT", "STUDY", "RUNS"]),
        ("distill", ["OUT"]),
        ("dashboard", ["FROM", "REPORT", "STORAGE"]),
        ("test", ["JOBS"]),
    ):
        line = [f"{name}={value}" for name in names] if by == "line" else []
        words = given(tmp_path, goal, *line, **({} if by == "line" else dict.fromkeys(names, value)))
        assert sum(value in word for word in words) == len(names), goal
    assert value in given(tmp_path, "figures", f"STUDY={value}")[2] and not (tmp_path / "ran").exists()


@needs_make
@pytest.mark.parametrize(
    "arguments",
    [
        ["{}';touch ran;'"],
        ["`touch ran`"],
        ["a\ntouch ran\nb"],
        ["sweep", "x'`>ran`\"=1"],
        ["sweep", "x'`>ran`'=1"],
        ["x'`>ran`'"],
        ["sweep", "PY=`touch ran`$(touch ran)'\""],
        ["sweeep", "PY=`touch ran`$(touch ran)'\""],
    ],
)
def test_names_of_goals_and_variables_run_nothing(arguments: list[str]) -> None:
    ran = ROOT / "ran"
    done = make(*arguments)
    assert (done.returncode != 0 and "error" in done.stderr.lower()) or "not a variable" in done.stderr
    try:
        assert not ran.exists()
    finally:
        ran.unlink(missing_ok=True)


@needs_make
def test_args_are_words_that_quotes_keep_together_and_nothing_in_them_runs(tmp_path: Path) -> None:
    args = f"""--set 'a=b c' "" -k \\"x `touch {tmp_path}/ran` $(touch {tmp_path}/ran) $HOME; *"""
    words = given(tmp_path, "sweep", f"ARGS={args}")
    assert words[5:9] == ["--set", "a=b c", "", "-k"] and words[-3:-1] == ["$HOME;", "*"]
    assert not (tmp_path / "ran").exists()
    done = make("sweep", f"PY={pretender(tmp_path, TELLS)}", "ARGS=--set 'a")
    assert done.returncode != 0 and "ARGS=--set 'a: no closing quotation" in done.stderr


@needs_make
@pytest.mark.parametrize("target", ["sweep", "search", "worker", "dashboard"])
@pytest.mark.parametrize("secret", ["pa$wd", "s:e@c/r et", "p'a\"b`c"])
def test_the_storage_goes_by_the_environment_where_others_cannot_read_it(
    target: str, secret: str, tmp_path: Path
) -> None:
    url = f"postgresql://me:{secret}@host/db"
    asked = pretender(tmp_path, TELLS)
    for settings, variable in (([f"STORAGE={url}"], ""), ([], url)):
        done = make(target, f"PY={asked}", *settings, SWEEP_STORAGE=variable)
        *before, line = done.stdout.splitlines()
        words, _, storage = line.rpartition(" storage ")
        assert storage == f"<{url}>" and secret not in words + "".join(before) + done.stderr


@needs_make
def test_the_command_is_shown_without_passwords(tmp_path: Path) -> None:
    asked = pretender(tmp_path, TELLS)
    args = "ARGS=--only 'a b' --storage postgresql://me:secret@host/db"
    shown = make("sweep", f"PY={asked}", args).stdout.splitlines()[0]
    assert shown.endswith("--only 'a b' --storage 'postgresql://me:***@host/db'")
    assert len(make("-s", "sweep", f"PY={asked}").stdout.splitlines()) == 1


@needs_make
def test_distill_passes_on_what_is_set_and_nothing_else(tmp_path: Path) -> None:
    assert given(tmp_path, "distill") == ["-m", "ablations.distill", ""]
    settings = ["DATA=my data", "SRC=a", "TGT=b", "PRESET=small", "OUT=my new data", "ARGS=--beam 4"]
    text = ["--data=my data", "--src=a", "--tgt=b", "--preset=small"]
    assert given(tmp_path, "distill", *settings)[2:-1] == [*text, "--out=my new data", "--beam", "4"]


@needs_make
@pytest.mark.parametrize("target", ["sweep", "distill", "search", "worker", "figures", *CHECKS])
def test_every_command_runs_without_any_setting(target: str, tmp_path: Path) -> None:
    done = make(target, f"PY={pretender(tmp_path, 'exit 0')}")
    assert done.returncode == 0, done.stderr


@needs_make
@pytest.mark.parametrize("target", ["sweep", "distill", "figures", *CHECKS])
def test_a_failing_command_fails_make(target: str, tmp_path: Path) -> None:
    assert make(target, f"PY={pretender(tmp_path, 'exit 7')}").returncode != 0


@needs_make
@pytest.mark.parametrize(("target", "more"), [("figures", []), ("report", ["--draw=report"])])
def test_figures_and_report_come_from_run_folders_or_from_wandb(target: str, more: list[str], tmp_path: Path) -> None:
    out = f"--out={target}"
    plain = given(tmp_path, target, "STUDY=my study")
    assert plain == ["-m", f"analysis.{target}", "runs/my study", out, ""]
    fetched = given(tmp_path, target, "FROM=my runs/x.wandb")
    assert fetched == ["-m", "sweeps.fetch", "my runs/x.wandb", "--to=runs/.fetched", *more, out, ""]
    chosen = given(tmp_path, target, "FROM=wandb:a/b", "STUDY=steps", "RUNS=elsewhere")
    assert chosen[2:5] == ["wandb:a/b", "--study=steps", "--to=elsewhere/.fetched"]
    assert given(tmp_path, target, "FROM=--help")[2] == "./--help"
    assert given(tmp_path, target, "RUNS=-r", "STUDY=x")[2] == "./-r/x"


@needs_make
@pytest.mark.parametrize(
    ("setting", "way"),
    [
        ("SEED=3", "Did you mean SEEDS=?"),
        ("seeds=3", "Did you mean SEEDS=?"),
        ("STUDIES=a b", "Did you mean STUDY=?"),
        ("UPDATES=3", 'ARGS="--set updates=VALUE"'),
        ("HTTPS_PROXI='x'", "HTTPS_PROXI=VALUE make"),
    ],
)
def test_a_setting_that_is_none_is_refused_with_the_nearest(setting: str, way: str) -> None:
    done = make("-n", "sweep", "PY=python", setting)
    assert done.returncode != 0 and done.stdout == ""
    assert f"{setting.partition('=')[0]}= is not a variable of this Makefile" in done.stderr and way in done.stderr
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
    teller = pretender(tmp_path, TELLS)
    for name in set(re.findall(r"^(\w+) *\?=", MAKEFILE, re.M)) - INSTALLATION - {"OMP_NUM_THREADS"}:
        done = make(target, f"PY={teller}", f"{name}=marked")
        if done.returncode == 0:
            assert "marked" in done.stdout, name
        else:
            assert f"`make {target}` does not read {name}=" in done.stderr


@needs_make
def test_goals_share_their_settings_and_go_in_their_order(tmp_path: Path) -> None:
    assert make("-n", "sweep", "report", "PY=python", "SEEDS=2", "REPORT=r").returncode == 0
    slow = pretender(tmp_path, f'[ "$2" = sweeps.study ] && sleep 1\necho "$2" >> "{tmp_path}/log"')
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
        return make("-n", target, "PY=python").stdout.splitlines()[-1].partition(" pytest ")[2]

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
