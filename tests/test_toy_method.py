"""A method of one file is swept, searched, translated with, reported and mirrored to W&B.

And no file outside core/methods/, the readers of released code aside, names a method's class.
"""

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
THREE = ("difformer", "autoregressive", "toy")
SHORT = ("--preset", "smoke", "--seeds", "2", "--workers", "2")
METHODS = ROOT / "core" / "methods"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with the toy method in it."""
    copy = tmp_path_factory.mktemp("house")
    for package in ("core", "ablations", "sweeps", "analysis"):
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "tests" / "toy_method.py", copy / "core" / "methods" / "toy.py")
    return copy


def run(house: Path, *arguments: str, given: str = "") -> str:
    """What a command prints; it must end well."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=house, input=given, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def swept(house: Path) -> str:
    return run(house, "sweeps.study", "--study", "systems", *SHORT, "--only", *THREE)


def runs_of(house: Path, study: str, arm: str = "toy") -> list[Path]:
    return sorted((house / "runs" / study).glob(f"{arm}-s*"))


@pytest.mark.slow
def test_it_is_swept_beside_the_others(house: Path, swept: str) -> None:
    table = (house / "figures" / "systems-smoke" / "table.md").read_text()
    assert all(f"| {arm} " in table for arm in THREE)
    for folder in runs_of(house, "systems-smoke"):
        record = json.loads((folder / "run.json").read_text())
        assert record["state"] == "finished"
        config = record["config"]
        assert config["method"] == "toy" and config["table_std"] == 0.1 and config["updates"] == 12
        assert not {"noise_factor", "model_dim", "beam", "decoding_steps"} & config.keys(), "options that it lacks"
    assert "0 of 6 runs to do" in run(
        house, "sweeps.study", "--study", "systems", *SHORT, "--only", *THREE, "--dry-run"
    )


@pytest.mark.slow
def test_it_translates(house: Path, swept: str) -> None:
    folder = runs_of(house, "systems-smoke")[0]
    samples = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    given = "".join(f"{row['source']}\n" for row in samples)
    shown = run(house, "core.translate", str(folder), given=given)
    assert shown.splitlines() == [row["hypothesis"] for row in samples]
    assert len(run(house, "core.translate", str(folder), "--temper", "2.0", given=given).splitlines()) == len(samples)


@pytest.mark.slow
def test_it_is_reported_and_mirrored(house: Path, swept: str) -> None:
    study = house / "runs" / "systems-smoke"
    run(house, "analysis.report", str(study), "--out", "report")
    page = (house / "report" / "index.html").read_text()
    assert "toy" in page and "no verdict" in page
    assert list((study / "wandb").glob("offline-run-*/*.wandb")), "the sweep showed its runs to W&B"
    shown = run(house, "sweeps.fetch", str(study / "wandb"), "--to", "fetched", "--out", "again")
    assert "toy" in shown + (house / "again" / "systems-smoke" / "table.md").read_text()


@pytest.mark.slow
def test_it_is_searched_over_its_own_options(house: Path, swept: str) -> None:
    line = ["sweeps.search", "--study", "systems", *SHORT, "--trials", "2", "--trial-seeds", "1", "--decodings", "1"]
    run(house, *line, "--only", "difformer", "toy")
    found = json.loads((house / "runs" / "systems-smoke-search" / "search.json").read_text())
    tried = {name for trial in found["trials"] if trial["arm"] == "toy" for name in trial["params"]}
    assert "lr" in tried and not tried & {"steps", "decoding_noise_factor", "dropout"}
    other = {name for trial in found["trials"] if trial["arm"] == "difformer" for name in trial["params"]}
    assert {"lr", "steps", "decoding_noise_factor"} <= other


def test_an_option_of_another_method_is_refused_by_name(house: Path) -> None:
    line = [sys.executable, "-m", "ablations.run", "--preset", "smoke", "--method", "toy", "--noise_factor", "2"]
    done = subprocess.run(line, cwd=house, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    said = "error: option noise_factor: method toy does not read it; it belongs to difformer"
    assert done.stderr.startswith(said) and done.stderr.count("\n") == 1


# The house knows methods by the seam alone

READERS = (ROOT / "core" / "released",)


def classes(path: Path) -> set[str]:
    """Names of the methods' classes in a file."""
    nodes = [node for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, ast.ClassDef)]
    return {node.name for node in nodes if any("Method" in ast.unparse(base) for base in node.bases)} - {"Options"}


def test_no_file_outside_the_methods_names_one() -> None:
    names = set[str]().union(*(classes(path) for path in METHODS.glob("*.py"))) - {"Method"}
    assert {"Difformer", "Autoregressive"} <= names
    found = []
    for package in ("core", "ablations", "sweeps", "analysis"):
        for path in (ROOT / package).rglob("*.py"):
            if METHODS in path.parents or any(reader in path.parents for reader in READERS):
                continue
            tree = ast.parse(path.read_text("utf-8"))
            named = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
            named |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
            named |= {alias.name for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) for alias in n.names}
            modules = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module}
            modules |= {alias.name for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names}
            allowed = {"core.methods", "core.methods.method"}
            found += [f"{path.relative_to(ROOT)}: {name}" for name in named & names]
            found += [
                f"{path.relative_to(ROOT)}: {m}" for m in modules if m.startswith("core.methods") and m not in allowed
            ]
    assert found == []
