"""W&B artifacts of a run, so that its lineage graph shows corpus -> (teacher -> distilled corpus) -> model -> outputs.

    corpus-<name>-<digest>    dataset: facts about the text, never the text (it may not be ours to give away)
    model-<hash>              model: facts and checksum; the weights and the tokenizer too with WANDB_LOG_MODEL=true
    outputs-<run id>          outputs: run.json, scores.json, probes.npz, metrics.jsonl, samples.jsonl, study.json

What decides an artifact's version is its content, so runs on the same text share one version of the corpus. Weights are
left out by default: they are the one large thing of a run, and the run folder has them.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import wandb

from core.run_folder import TOKENIZER, WEIGHTS
from sweeps.wb import archive

MODEL_FILES = (WEIGHTS, TOKENIZER)
LICENCE = re.compile(r"^\W*licen[cs]e\W+(.+)$", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True)
class Step:
    """A run that only stands for how something came about: what it took and what it made."""

    id: str
    job_type: str
    used: tuple[wandb.Artifact, ...]
    made: wandb.Artifact
    config: dict[str, Any] = field(default_factory=dict)


def name(*parts: str) -> str:
    """An artifact's name: what W&B allows of these words."""
    return re.sub(r"[^\w.]+", "-", "-".join(parts)).strip("-")[:120]


def _of_facts(name: str, kind: str, content: Mapping[str, Any], metadata: Mapping[str, Any]) -> wandb.Artifact:
    """An artifact of one small file, which decides its version; metadata does not."""
    artifact = wandb.Artifact(name, type=kind, metadata={**content, **metadata})
    with artifact.new_file(f"{kind}.json") as file:
        json.dump(content, file, indent=1, sort_keys=True, ensure_ascii=False)
    return artifact


def corpus(data: Mapping[str, Any], config: Mapping[str, Any]) -> wandb.Artifact:
    """The text of a run, by record["data"] and the options: name, digest, licence, lineage, and how many pairs."""
    content: dict[str, Any] = {"name": data["name"], "digest": data["digest"]}
    if config.get("data") is None:  # its options are the embedded corpus, the digest is only its version
        content |= {key: value for key, value in config.items() if key.startswith("corpus_")}
    content |= {"lineage": data["lineage"]} if data.get("lineage") else {}
    metadata = {key: value for key, value in data.items() if key not in ("lineage", "dropped")}
    if found := licence(config.get("data")):
        metadata["licence"] = found
    return _of_facts(name("corpus", str(data["name"]), str(data["digest"])), "dataset", content, metadata)


def licence(folder: str | None) -> str | None:
    """What the text's README says on its licence: the rest of a line that begins with the word, or the line below."""
    for path in sorted(Path(folder).expanduser().glob("README*")) if folder else []:
        if path.is_file() and (found := LICENCE.search(path.read_text(encoding="utf-8", errors="replace"))):
            return found[1].strip()[:500]
    return None


def model(record: Mapping[str, Any], folder: Path) -> wandb.Artifact:
    """The trained model: its options' hash and its weights' checksum, or the files themselves."""
    weights = folder / MODEL_FILES[0]
    content = {"hash": record["hash"], "weights_sha256": sha256(weights.read_bytes()).hexdigest()}
    facts = {key: record.get(key) for key in ("study", "arm", "seed", "parameters", "toggles", "training_hash")}
    artifact = _of_facts(name("model", record["hash"]), "model", content, facts)
    wanted = os.environ.get("WANDB_LOG_MODEL", "").lower() not in ("", "0", "false", "no", "off")
    for file in MODEL_FILES if wanted else ():
        artifact.add_file(str(folder / file), skip_cache=True, policy="immutable")
    return artifact


def outputs(run_id: str, folder: Path) -> wandb.Artifact:
    """What the run left, without checkpoints: all that table and figures are made from."""
    artifact = wandb.Artifact(name("outputs", run_id), type="outputs")
    for file, path in archive.places(folder).items():
        if path.is_file():
            artifact.add_file(str(path), name=file, skip_cache=True, policy="immutable")
    return artifact


def history(data: Mapping[str, Any]) -> Iterator[Step]:
    """The steps before a run on a distilled corpus: source -> teacher, and source + teacher -> distilled corpus.

    A source that was distilled itself has its own steps before them.
    """
    story = data.get("lineage") or {}
    if not (story.get("source") and story.get("teacher")):
        return
    source, teacher = story["source"], story["teacher"]
    yield from history(source)
    hash_ = str(teacher.get("hash") or "unknown")

    def text() -> wandb.Artifact:
        embedded = str(source["digest"]).startswith("embedded-")
        return corpus(source, {"data": None, **(teacher.get("options") or {})} if embedded else {"data": ""})

    def taught() -> wandb.Artifact:
        return _of_facts(name("model", hash_), "model", {"hash": hash_}, {**teacher, "role": "teacher"})

    yield Step(name("teacher", hash_), "teacher", (text(),), taught(), dict(teacher))
    made = corpus(data, {"data": ""})
    yield Step(name("distill", str(data["digest"])), "distill", (text(), taught()), made, dict(story))
