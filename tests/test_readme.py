"""The pages: short, their links and commands exist, their Python runs, and how to add something is really enough.

The code blocks of README.md are applied as they stand to a copy of the project, so that they cannot go stale.
"""

import csv
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fake_runs import write_study

from ablations import presets
from core.config import RunConfig, with_values
from core.sections import DataConfig

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("core", "ablations", "sweeps", "analysis")
README = (ROOT / "README.md").read_text("utf-8")
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "results" / "log.md",
    ROOT / "results" / "systems.md",
    ROOT / "analysis" / "verdicts.md",
]
PAGES += [ROOT / folder / "README.md" for folder in ("core", "ablations", "sweeps", "results")]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def test_the_readme_is_short() -> None:
    assert len(README.encode()) <= 10_000


# Links


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    heads = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def links(text: str) -> list[str]:
    """The targets of links and images, those on the Internet aside."""
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in links(page.read_text("utf-8")):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text("utf-8"))):
            broken.append(link)
    assert broken == []


def test_a_broken_link_would_be_seen() -> None:
    text = "# A b: `c`, d-e\n[x](#a-b-c-d-e) ![y](there.png) [z](https://example.org/x)\n```\n# no head\n```\n"
    assert links(text) == ["#a-b-c-d-e", "there.png"]
    assert anchors(text) == {"a-b-c-d-e"}


def test_the_readme_leads_to_every_page() -> None:
    assert {ROOT / link for link in links(README) if "#" not in link} >= set(PAGES) - {ROOT / "README.md"}


# Commands


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([\w-]+):", makefile, re.M))
    named = set(re.findall(r"(?:`|^ {4}|; )make ([a-z][a-z-]*)", text, re.M))
    assert named - targets == set()
    modules = {name.rstrip(".") for name in re.findall(r"-m\s+((?:core|ablations|sweeps|analysis)\.[\w.]+)", text)}
    assert {name for name in modules if importlib.util.find_spec(name) is None} == set()
    assert {v for v in re.findall(r"`?\b([A-Z_]{2,})=", text) if v not in makefile} <= {"WANDB_MODE", "WANDB_LOG_MODEL"}


def test_the_readme_names_commands() -> None:
    assert {"sweep", "report", "search", "test", "help"} <= set(re.findall(r"^ {4}make ([a-z-]+)", README, re.M))


# From Python


def blocks(language: str) -> list[str]:
    """The fenced blocks of README.md in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.M | re.S)


@pytest.mark.parametrize(("preset", "own"), [("tiny", "corpus_lexicon=150"), ("small", "vocab_size=4000")])
def test_the_python_example_reads_the_text_as_its_preset_says(preset: str, own: str) -> None:
    """Options of the text go to load_text; train refuses others."""
    (example,) = [block for block in blocks("python") if "load_text" in block]
    assert own in example and f'"{preset}"' in example
    assert 'train(text, "difformer", ' in example and '.values_for("difformer")' in example, "as for any method"
    name, value = own.split("=")
    data = with_values(RunConfig(), presets.get(preset).values).data
    assert data == DataConfig(**{name: int(value)})  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_python_example_runs(tmp_path: Path) -> None:
    """As it stands, but for its size."""
    (example,) = [block for block in blocks("python") if "load_text" in block]
    small = example.replace('get("tiny")', 'get("smoke")').replace(
        "corpus_lexicon=150", "corpus_pairs=300, corpus_heldout=16, corpus_lexicon=60, vocab_size=320"
    )
    assert small.count("smoke") == small.count("corpus_heldout") == 1
    write_study(tmp_path / "runs", "modules", seeds=(1, 2))
    (tmp_path / "example.py").write_text(small)
    shown = python(tmp_path, "example.py", PYTHONPATH=str(ROOT))
    assert "'train/step': 12" in shown and len(re.findall(r"^\[.*\]$", shown, re.M)) == 2


def python(folder: Path, *arguments: str, **environment: str) -> str:
    """What Python prints there; it must end well."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | {"MPLBACKEND": "agg", "OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled"} | environment,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# What is added


def change(house: Path, block: str) -> None:
    """Make the changes of a diff block: '# FILE' and its pieces, with @@ between them. Each must fit at one place."""
    for part in re.split(r"^# (?=\S+\.py$)", block, flags=re.M)[1:]:
        name, _, pieces = part.partition("\n")
        path = house / name
        for piece in pieces.split("@@\n"):
            lines = piece.splitlines()
            assert {line[:1] for line in lines} <= {" ", "-", "+"}
            old, new = ("".join(f"{line[1:]}\n" for line in lines if line[0] != sign) for sign in ("+", "-"))
            text = path.read_text("utf-8")
            assert f"\n{text}".count(f"\n{old}") == 1, f"{name} is another one than README.md shows:\n{old}"
            path.write_text(f"\n{text}".replace(f"\n{old}", f"\n{new}")[1:], "utf-8")


def test_a_change_that_does_not_fit_would_be_seen(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\ny = 2\nz = 3\n")
    change(tmp_path, "# a.py\n x = 1\n+w = 0\n@@\n-z = 3\n+z = 4\n")
    assert (tmp_path / "a.py").read_text() == "x = 1\nw = 0\ny = 2\nz = 4\n"
    with pytest.raises(AssertionError, match="another one than README"):
        change(tmp_path, "# a.py\n-z = 3\n+z = 4\n")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with all that README.md adds."""
    copy = tmp_path_factory.mktemp("house")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    (copied,) = re.findall(r"`cp (\S+) (\S+)`", README)
    shutil.copy(ROOT / copied[0], copy / copied[1])
    files = [block for block in blocks("python") if block.startswith("# ")]
    for block in files:
        (copy / block.split()[1]).write_text(block, "utf-8")
    found = blocks("diff")
    assert len(found) == 5 and len(files) == 1, "an arm, a sampler, a schedule, a metric, a figure; a method is a file"
    for block in found:
        change(copy, block)
    return copy


def run_command(house: Path, command: str) -> str:
    """A command of README.md that runs a study or an arm, at a small size."""
    assert f"`{command}`" in README.replace("\n", " ")
    line = command.replace("make sweep STUDY=", "python -m sweeps.study --study ").replace("tiny", "smoke")
    return python(house, *line.split()[1:], *(["--preset", "smoke", "--dry-run"] if "sweeps" in line else []))


@pytest.mark.slow
def test_what_is_added_is_swept(house: Path) -> None:
    assert "smoothing-0-s1-" in run_command(house, "make sweep STUDY=smoothing")
    assert "words-s1-" in run_command(house, "make sweep STUDY=systems")
    assert "square-s1-" in run_command(house, "make sweep STUDY=schedule")


@pytest.mark.slow
def test_the_sampler_finishes_a_run_which_is_scored_by_the_metric(house: Path) -> None:
    run_command(house, "python -m ablations.run --preset tiny --sampler fresh")
    (record,) = (house / "runs" / "single").glob("*F4-s1-*/run.json")
    assert json.loads(record.read_text())["config"]["sampler"] == "fresh"
    assert 0.0 <= json.loads(record.with_name("scores.json").read_text())["exact"] <= 100.0


@pytest.mark.slow
@pytest.mark.parametrize("options", ["--schedule square --noise_factor 2", "--method words --label_smoothing 0"])
def test_the_schedule_and_the_method_finish_a_run(house: Path, options: str) -> None:
    python(house, "-m", "ablations.run", "--preset", "smoke", *options.split())


@pytest.mark.slow
def test_the_metric_stands_in_the_table_and_the_figure_is_drawn(house: Path) -> None:
    study = write_study(house / "made", "modules", seeds=(1, 2))
    for path in study.glob("*/scores.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"exact": 12.5}))
    python(house, "-m", "analysis.figures", str(study), "--out", "figures")
    out = house / "figures" / "modules"
    assert (out / "lengths.pdf").stat().st_size > 1000 and (out / "lengths.csv").exists()
    rows = list(csv.DictReader((out / "table.csv").read_text().splitlines()))
    assert [row["exact"] for row in rows] == ["12.5"] * 8
    assert "| exact matches |" in (out / "table.md").read_text()
