"""A run to track, and what the real W&B client wrote of it."""

import importlib
import json
import time
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ablations import records
from ablations.metrics_log import MetricsLog
from core.run_folder import path_of, write_json
from sweeps.wb import wandb_file

ROOT = Path(__file__).parents[1]
TOGGLES = {"anchor_loss": True, "embedding_norm": False, "noise_factor": 4.0}


def plain_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No key, no mode, no folders set by the user."""
    for name in ("MODE", "API_KEY", "DIR", "DATA_DIR", "CACHE_DIR", "ARTIFACT_DIR", "PROJECT", "BASE_URL"):
        monkeypatch.setenv(f"WANDB_{name}", "")  # so that what `wandb_dir` sets is undone afterwards
        monkeypatch.delenv(f"WANDB_{name}")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def until(condition: Callable[[], Any], seconds: float = 60, what: str = "what was waited for") -> Any:
    """Wait for a condition to hold; its value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what} did not come within {seconds} s"
        time.sleep(0.05)
    return value


def contents(study: Path) -> wandb_file.Log:
    """What the only offline run under a study's folder holds, once it is closed (the client writes a little behind)."""

    def closed() -> wandb_file.Log | None:
        logs = [wandb_file.read(path) for path in study.glob("wandb/offline-run-*/*.wandb") if path.stat().st_size > 7]
        assert len(logs) <= 1
        return logs[0] if logs and logs[0].exit_code is not None else None

    log: wandb_file.Log = until(closed, what="the end of the run")
    return log


def run_folder(study: Path, seed: int = 1) -> Path:
    """A running run with metrics, scores, probes, samples and a model."""
    folder = path_of(study.parent, study.name, "anchor+nonorm+F4", seed, "0123abcd")
    config = {"seed": seed, "updates": 4, "lr": 1e-3, "embedding_norm": "none", "noise_factor": 4.0}
    config |= {"data": None, "corpus_pairs": 20000}
    facts: dict[str, Any] = {"study": study.name, "arm": "anchor+nonorm+F4", "label": "anchor · F4", "seed": seed}
    facts |= {"data": {"name": "embedded (translate)", "digest": "embedded-1", "train_pairs": 20000, "dropped": {}}}
    facts |= {"cost": {"wall_s": 2.5, "train_tokens_per_s": None}, "parameters": 7}
    records.create(folder, hash8="0123abcd", config=config, toggles=TOGGLES, **facts)
    (study / "study.json").write_text(json.dumps({"study": study.name, "metric": "bleu"}))
    rng = np.random.default_rng(0)
    curve = np.array([0.1, np.nan, 0.3])
    probes: dict[str, Any] = {"frequency": np.arange(90), "norm": rng.random(90), "t": np.array([0, 5, 9])}
    np.savez(folder / "probes.npz", **probes, mse=curve)
    sample = {"id": 0, "source": "ein Haus", "reference": "a house", "hypothesis": "a <b>", "sentence_bleu": 50.0}
    sample["trajectory"] = [{"t": 9, "text": "x"}, {"t": 0, "text": "a <b>"}]
    (folder / "samples.jsonl").write_text(json.dumps(sample) + "\n")
    by_steps = [{"steps": 2, "bleu": 1.0}, {"steps": 20, "bleu": 3.0}]
    write_json(folder / "scores.json", {"bleu": 12.5, "signature": "nrefs:1", "by_steps": by_steps})
    (folder / "model.safetensors").write_bytes(b"weights" * 10)
    (folder / "tokenizer.json").write_text("{}")
    return folder


def log_all(folder: Path, tracker: records.Tracker, last: int = 4, resume: int | None = None) -> None:
    """Log rows up to a step."""
    with MetricsLog(folder / "metrics.jsonl", resume, tracker.log) as log:
        for step in range((resume or 0) + 1, last + 1):
            log.log({"train/step": step, "train/loss": 1.0 / step, "train/mse": float("nan")})
            if step % 2 == 0:
                log.log({"train/step": step, "val/bleu": float(step)})


def whole(folder: Path, tracker: records.Tracker) -> None:
    """A run from its first row to its end."""
    log_all(folder, tracker)
    tracker.results(folder)
    records.finish(folder)
    tracker.finish("finished")


# Logs as no client of ours writes them

Item = tuple[str | list[str], str]
"""Name, or path of names, and the text of a value."""
pb: Any = importlib.import_module("wandb.proto.wandb_internal_pb2")


def run_record(*config: Item, job_type: str = "train") -> bytes:
    """The record that a run begins with."""
    record = pb.Record()
    record.run.run_id, record.run.job_type = "r1", job_type
    _fill(record.run.config.update, config)
    return bytes(record.SerializeToString())


def history_record(*row: Item) -> bytes:
    """The record of one row."""
    record = pb.Record()
    _fill(record.history.item, row)
    record.history.step.num = 0  # also a row of nothing is one
    return bytes(record.SerializeToString())


def _fill(items: Any, pairs: Iterable[Item]) -> None:
    for name, text in pairs:
        item = items.add()
        item.value_json = text
        if isinstance(name, str):
            item.key = name
        else:
            item.nested_key.extend(name)


def framed(records: Iterable[bytes]) -> bytes:
    """The bytes of a .wandb file with these records, each in as many pieces as its blocks need."""
    content = bytearray(wandb_file.IDENT)
    for record in records:
        rest, first = record, True
        while rest or first:
            if (room := wandb_file.BLOCK - len(content) % wandb_file.BLOCK) < wandb_file.HEADER:
                content += bytes(room)
                continue
            part, rest = rest[: room - wandb_file.HEADER], rest[room - wandb_file.HEADER :]
            kind = bytes([{(True, True): 1, (True, False): 2, (False, False): 3, (False, True): 4}[first, not rest]])
            content += zlib.crc32(kind + part).to_bytes(4, "little") + len(part).to_bytes(2, "little") + kind + part
            first = False
    return bytes(content)
