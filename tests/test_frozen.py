"""Identities as they were at commit af4dfd7: finished runs, queues and searches made then are recognised today.

They are so when what changed by default since is asked for as it was (AS_BEFORE), and then in the same folders.
golden/identities.json holds, for each preset and study of that commit, the study's folder, its queue, and of each arm
with seeds 1 and 2 the identity of the run and of its training; and of some searches their name and the queue of their
arms at the default.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from ablations import presets, records, studies
from core.config import RunConfig, all_options, flat, with_values
from core.options import as_before
from sweeps.running.recipe import Recipe
from sweeps.running.trials import queue_name
from sweeps.tuning.options import SearchOptions
from sweeps.tuning.prepare import prepare

ROOT = Path(__file__).parents[1]
FROZEN = json.loads((Path(__file__).parent / "golden" / "identities.json").read_text())
DIGEST = "0123456789abcdef"
"""Of a text that stands for the corpus of all of them."""


AS_BEFORE = {"averaging": "mean", "bleu_tokenizer": "13a"}
"""Options added since whose default is not what runs did without them."""


GPU_BEFORE = {
    **{"updates": 6000, "warmup": 1000, "lr": 7e-4, "valid_sentences": 300, "keep_best": 5, "embedding_std": 0.02},
    **{"initialization": "bert", "embedding_norm_affine": True},
}
"""What the preset gpu said, before anybody had run it."""


def presets_before() -> Any:
    """Within it the preset is what it was."""
    was = presets.PRESETS["gpu"]
    return patch.dict(presets.PRESETS, {"gpu": replace(was, values={**was.values, **GPU_BEFORE})})


def test_what_is_not_as_before_by_default_is_known() -> None:
    default, was = all_options(RunConfig()), as_before(RunConfig())
    assert {name: value for name, value in was.items() if default[name] != value} == AS_BEFORE


def today(preset: str, study: str) -> dict[str, Any]:
    """Folder, queue and identities of a study with a preset."""
    with presets_before():
        recipe = Recipe.of(studies.get(study), preset, overrides=AS_BEFORE)
    runs = {}
    for arm in recipe.study.arms:
        for seed in (1, 2):
            values = flat(with_values(recipe.config, {**arm.values, "seed": seed}))
            both = [records.identity(values, DIGEST), records.training_identity(values, DIGEST)]
            runs[f"{arm.name}-s{seed}"] = both
    shared = {**flat(recipe.config), "data": DIGEST}
    return {"folder": recipe.folder, "queue": queue_name(recipe.folder, recipe.study.arms, shared), "runs": runs}


def all_today() -> dict[str, Any]:
    """Those of all studies and presets."""
    return {name: today(*name.split("/")) for name in FROZEN["studies"]}


@pytest.mark.parametrize("name", FROZEN["studies"])
def test_runs_and_queues_are_what_they_were(name: str) -> None:
    assert today(*name.split("/")) == FROZEN["studies"][name]


@pytest.mark.parametrize("name", FROZEN["searches"])
def test_searches_are_what_they_were(name: str) -> None:
    preset, study = name.split("/")
    given = tuple(f"{option}={value}" for option, value in AS_BEFORE.items())
    sweep, search = prepare(SearchOptions(study=study, preset=preset, overrides=given), "sweeps.search")
    assert [search.name, sweep.queue] == FROZEN["searches"][name]


def with_option(tree: Path, field: str) -> dict[str, Any]:
    """What `all_today` finds in a copy of the project whose processes have one more option."""
    for package in ("core", "ablations", "sweeps"):
        shutil.copytree(ROOT / package, tree / package, ignore=shutil.ignore_patterns("__pycache__"))
    sections = tree / "core" / "sections.py"
    before = '    """Noise schedule alpha_bar(u) (released: sqrt)."""\n'
    assert sections.read_text().count(before) == 1
    sections.write_text(sections.read_text().replace(before, f"{before}    {field}\n"))
    code = "import json, test_frozen; print(json.dumps(test_frozen.all_today()))"
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(tree), str(Path(__file__).parent)])}
    done = subprocess.run([sys.executable, "-c", code], cwd=tree, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_an_option_added_later_changes_no_identity(tmp_path: Path) -> None:
    assert with_option(tmp_path, "sharpness: float = added(1.0)") == FROZEN["studies"]


def test_an_option_that_is_not_marked_as_added_would_be_noticed(tmp_path: Path) -> None:
    found = with_option(tmp_path, "sharpness: float = 1.0")
    for name, before in FROZEN["studies"].items():
        assert all(found[name]["runs"][run] != identities for run, identities in before["runs"].items()), name
