"""Artifacts and their lineage, by the real client, offline and into the stand-in."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import wandb
from standin import Server
from standin.backend import Backend
from tracked import contents, plain_surroundings, run_folder, whole

from ablations import records
from sweeps.wb import connection, lineage, tracking

TEACHER = {"hash": "7eac4e70", "bleu": 31.5, "updates": 700, "options": {"corpus_pairs": 20000}}
STORY = {"made_by": "distillation", "source": {"name": "embedded (translate)", "digest": "embedded-1"}}
DISTILLED = {"name": "mine de-en", "digest": "d15711ed", "train_pairs": 9, "lineage": STORY | {"teacher": TEACHER}}


def distilled(study: Path, seed: int = 1) -> Path:
    """A run on a distilled corpus."""
    folder = run_folder(study, seed)
    config = records.read(folder)["config"] | {"data": str(study / "text")}
    records.update(folder, data=DISTILLED, config=config)
    return folder


def graph(backend: Backend) -> set[tuple[str, str]]:
    """The edges of the lineage graph: (what was used, run) and (run, what it made), without sample tables."""
    edges = set()
    for artifact in backend.artifacts.values():
        assert artifact["state"] == "COMMITTED"
        if artifact["type"] != "run_table":
            edges |= {(artifact["collection"], run) for run in artifact["used_by"]}
            edges |= {(artifact["made_by"], artifact["collection"])} if artifact["made_by"] else set()
    return edges


def test_a_distilled_corpus_has_its_whole_story(wandb_server: Server, tmp_path: Path) -> None:
    lineage_of = tracking._logged_steps
    lineage_of.clear()
    for seed in (1, 2):
        folder = distilled(tmp_path / "modules", seed)
        whole(folder, tracking.tracker(folder))
    connection.client().teardown()
    own = records.read(folder)["hash"] + "-" + tracking.identity(records.read(folder)).id[-4:]
    source, made = "corpus-embedded-translate-embedded-1", "corpus-mine-de-en-d15711ed"
    teacher, distill = "teacher-7eac4e70", "distill-d15711ed"
    assert graph(wandb_server.backend) == {
        (source, teacher), (teacher, "model-7eac4e70"), (source, distill), ("model-7eac4e70", distill), (distill, made),
        (made, own), (own, "model-0123abcd"), ("model-0123abcd", own), (own, f"outputs-{own}"),
    }  # fmt: skip
    runs = wandb_server.backend.runs
    assert {name: run["jobType"] for name, run in runs.items()} == {
        teacher: "teacher",
        distill: "distill",
        own: "train",
    }
    versions = [a["collection"] for a in wandb_server.backend.artifacts.values()]
    assert versions.count(made) == versions.count(source) == 1, "the same text is the same version"
    assert wandb_server.backend.unknown == []


def test_the_corpus_artifact_has_facts_and_no_text(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# Captions\n\n## Licence\nCC BY 4.0, see there.\n")
    data = {"name": "captions de-en", "digest": "0a1b", "train_pairs": 5, "dropped": {"x": 1}}
    one = lineage.corpus(data, {"data": str(tmp_path), "corpus_pairs": 3})
    assert one.name == "corpus-captions-de-en-0a1b" and one.type == "dataset"
    assert one.metadata == {
        "name": data["name"],
        "digest": "0a1b",
        "train_pairs": 5,
        "licence": "CC BY 4.0, see there.",
    }
    assert list(one.manifest.entries) == ["dataset.json"]
    again = lineage.corpus(data | {"train_pairs": 4}, {"data": str(tmp_path / "moved")})
    assert again.digest == one.digest, "the same text, however much of it a run could take"
    assert lineage.corpus(data | {"digest": "0a1c"}, {"data": str(tmp_path)}).digest != one.digest


def test_the_embedded_corpus_is_told_by_its_options() -> None:
    data = {"name": "embedded (translate)", "digest": "embedded-1"}
    one, other = (lineage.corpus(data, {"data": None, "corpus_pairs": pairs, "lr": 1}) for pairs in (10, 20))
    assert one.digest != other.digest and one.metadata["corpus_pairs"] == 10 and "lr" not in one.metadata


@pytest.mark.parametrize(
    ("text", "found"),
    [("License: MIT", "MIT"), ("**Licence**\n\nunclear", "unclear"), ("No word of it", None), ("## Licence\n", None)],
)
def test_the_licence_is_what_the_readme_says(tmp_path: Path, text: str, found: str | None) -> None:
    (tmp_path / "README").write_text(f"Title\n{text}\n")
    assert lineage.licence(str(tmp_path)) == found and lineage.licence(None) is None


def test_weights_are_uploaded_only_when_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = run_folder(tmp_path / "modules")
    record = records.read(folder)
    assert list(lineage.model(record, folder).manifest.entries) == ["model.json"]
    for value, wanted in {"true": True, "end": True, "false": False, "": False}.items():
        monkeypatch.setenv("WANDB_LOG_MODEL", value)
        assert ("model.safetensors" in lineage.model(record, folder).manifest.entries) == wanted


def synced(study: Path, server: Server) -> None:
    """Send all offline runs below a study's folder, by `wandb sync`."""
    runs = sorted(str(path) for path in study.glob("wandb/offline-run-*"))
    line = [sys.executable, "-m", "wandb", "sync", *runs]
    done = subprocess.run(line, env=os.environ | server.environment, cwd=study, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_offline_runs_have_their_lineage_after_a_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        plain_surroundings(patch, tmp_path)
        patch.setenv("WANDB_LOG_MODEL", "true")
        folder = run_folder(tmp_path / "modules")
        whole(folder, tracking.tracker(folder))
        log = contents(tmp_path / "modules")
        wandb.teardown()
    kinds: list[Any] = [(a.type, a.user_created, a.use_after_commit) for a in log.artifacts if a.type != "run_table"]
    assert kinds == [("dataset", True, True), ("model", False, True), ("outputs", False, False)]
    server = Server()
    synced(tmp_path / "modules", server)
    backend = server.backend
    own = log.run_id
    assert graph(backend) == {
        ("corpus-embedded-translate-embedded-1", own), (own, "model-0123abcd"), ("model-0123abcd", own),
        (own, f"outputs-{own}"),
    }  # fmt: skip
    model = next(a for a in backend.artifacts.values() if a["type"] == "model")
    assert backend.blobs[model["files"]["model.safetensors"]] == (folder / "model.safetensors").read_bytes()
    assert json.loads(model["metadata"])["hash"] == "0123abcd" and backend.runs[own]["exitcode"] == 0
    assert backend.unknown == []
    server.stop()
