"""Run folders that others damaged or made up: each is named with what is wrong, and the rest is read."""

import contextlib
import io
import json
import math
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_runs import edit, write_study
from fake_search import write_search
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from rich.console import Console

from ablations import records
from ablations.metrics_log import MetricsLog
from ablations.rescoring import rescored
from analysis.claims import claims
from analysis.figures import embedding_norms, loss_collapse, one_shot, per_step, score_steps
from analysis.figures.common import Missing
from analysis.figures.names import shorten_names
from analysis.footer import footer
from analysis.load import StudyResults, load
from analysis.report.sections.samples import samples_section
from analysis.searches import load_search
from analysis.sentences import compare
from analysis.tables import grids
from analysis.tuned.footer import search_footer
from analysis.tuned.tables import grids as tuned_grids
from core import run_folder
from core.errors import UserError
from sweeps.dashboards.live_report import ended
from sweeps.running.display import Lines, Screen
from sweeps.running.plan import Job
from sweeps.running.progress import view

RUN_KEYS = ["format", "study", "arm", "label", "seed", "hash", "config", "toggles", "state", "reason", "outcome"]
RUN_KEYS += ["attempts", "lease", "versions", "commit", "device", "threads", "processor", "command", "started"]
RUN_KEYS += ["finished", "data", "parameters", "tuning", "cost", "wandb", "search", "told", "refused"]
STUDY_KEYS = ["study", "metric", "seeds", "arms", "factors", "control", "runs", "command", "preset", "banner", "claims"]
SCORE_KEYS = ["bleu", "chrf", "rouge1", "signature", "sentences", "candidates", "decoding_steps", "by_steps"]
SEARCH_KEYS = ["metric", "arms", "default", "tuned", "best", "spent", "trials", "rounds", "importance", "pareto", "own"]
SEARCH_KEYS += ["settings", "seeds", "dimensions", "defaults", "trained", "objectives", "banner", "budget_s", "study"]
ROW_KEYS = ["train/step", "train/loss", "val/bleu", "diag/cosine", "id", "source", "hypothesis", "trajectory"]
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["../..", "/etc", "=1+1", "\x1b[2J", "a\u2028b", "<script>", "", "nan"]),
    st.lists(st.one_of(st.none(), st.integers(), st.text(max_size=3)), max_size=3),
    st.dictionaries(
        st.text(max_size=3), st.one_of(st.none(), st.floats(), st.lists(st.integers(), max_size=2)), max_size=3
    ),
)
HOW = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that is whole."""
    return write_study(tmp_path_factory.mktemp("whole"), "token_loss", seeds=(1,))


@contextlib.contextmanager
def copied(original: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of it, gone afterwards."""
    folder = tmp_path / original.name
    shutil.rmtree(folder, ignore_errors=True)
    yield shutil.copytree(original, folder)


def mutate(path: Path, key: str, value: Any, drop: bool) -> None:
    """Change or drop a key of a JSON file, or replace all of it (key '')."""
    content = json.loads(path.read_text())
    if not key:
        content = value
    elif drop:
        content.pop(key, None)
    else:
        content[key] = value
    path.write_text(json.dumps(content))


def use(path: Path) -> StudyResults | None:
    """All that reads a study; None if it says that nothing is left. Any other exception is a fault."""
    ended(path)
    try:
        study = load(path)
    except UserError as error:
        assert "\x1b" not in str(error) and "Traceback" not in str(error)
        return None
    assert path.parent / study.name == path.parent / Path(study.name).name
    grids(study)
    footer(study)
    claims(study)
    samples_section(study)
    compare(study)
    assert not [text for text in (*study.failed["run"], *study.notes) if "\x1b" in text]
    return study


def watch(folder: Path) -> None:
    """What the display of a sweep makes of a run folder, and a run that goes on in it."""
    arm, _, rest = folder.name.rpartition("-s")
    job = Job(folder.parent.name, arm, arm, int(rest.split("-")[0]), rest.split("-")[1], {"updates": 700}, {}, {})
    seen = view(job, folder, "bleu")
    Lines(1, "bleu", io.StringIO()).show([seen])
    Screen([], 1, "bleu", Console(file=io.StringIO())).draw([seen, replace(seen, state="running")])
    (folder / "again").mkdir(exist_ok=True)
    MetricsLog(Path(shutil.copy(folder / "metrics.jsonl", folder / "again")), 300).close()
    for row in run_folder.read(folder / "metrics.jsonl"):
        assert row.get("train/step", 0) >= -math.inf


def draw(study: StudyResults) -> None:
    """What the figures make of it; each may say that it lacks something."""
    for module in (embedding_norms, loss_collapse, one_shot, per_step, score_steps):
        with contextlib.suppress(Missing):
            module.tidy(shorten_names(study))


@HOW
@given(key=st.sampled_from(["", *RUN_KEYS]), value=VALUES, drop=st.booleans())
def test_run_json_of_any_content_is_read_or_named(
    original: Path, tmp_path: Path, key: str, value: Any, drop: bool
) -> None:
    with copied(original, tmp_path) as path:
        run = sorted(path.glob("*/run.json"))[0]
        mutate(run, key, value, drop)
        study = use(path)
        assert study is not None and len(study.scores) + len(study.failed) >= 3
        with contextlib.suppress(UserError):
            records.read(run.parent)
            records.busy(run.parent)
            watch(run.parent)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("config", "updates", [1]),
        ("config", "updates", "many"),
        ("config", "metric", ["bleu"]),
        ("config", "method", []),
        ("config", "diffusion_steps", [1, 2]),
        ("data", "lineage", "text"),
        ("data", "lineage", {"teacher": [1], "source": {"lineage": 3}}),
    ],
)
def test_what_is_in_sections_of_run_json_is_checked_too(
    original: Path, tmp_path: Path, section: str, key: str, value: Any
) -> None:
    with copied(original, tmp_path) as path:
        for file in path.glob("anchor-*/run.json"):
            record = json.loads(file.read_text())
            record[section] = (record.get(section) or {}) | {key: value}
            file.write_text(json.dumps(record))
        study = use(path)
        assert study is not None
        draw(study)
        assert section == "data" or f"`config.{key}`" in " ".join(study.failed["reason"])


@pytest.mark.parametrize(
    ("key", "value"), [("started", "yesterday"), ("started", "2026-11-20T10:00:00"), ("finished", "9" * 30)]
)
def test_times_of_any_kind_are_shown_or_named(original: Path, tmp_path: Path, key: str, value: str) -> None:
    with copied(original, tmp_path) as path:
        run = sorted(path.glob("*/run.json"))[0]
        edit(run, state="running", cost={}, **{key: value})
        with contextlib.suppress(UserError):
            watch(run.parent)


@pytest.mark.parametrize("row", [{"train/step": "x"}, {"train/step": None}, {"train/seconds": []}, {"train/loss": "x"}])
def test_odd_rows_do_not_end_a_sweep(original: Path, tmp_path: Path, row: dict[str, Any]) -> None:
    with copied(original, tmp_path) as path:
        run = sorted(path.glob("*/run.json"))[0]
        edit(run, state="running")
        with open(run.parent / "metrics.jsonl", "a") as file:
            file.write(json.dumps(row) + "\n")
        with contextlib.suppress(UserError):
            watch(run.parent)


def test_a_sample_with_a_score_that_is_none_is_scored_anew(original: Path, tmp_path: Path) -> None:
    with copied(original, tmp_path) as path:
        file = sorted(path.glob("*/samples.jsonl"))[0]
        rows = [json.loads(line) | {"sentence_length": 5} for line in file.read_text().splitlines()]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        assert rescored(file.parent, None, []).rows[0]["sentence_length"] == 5


@HOW
@given(key=st.sampled_from(["", *SCORE_KEYS]), value=VALUES, drop=st.booleans())
@example(key="", value=[1], drop=False)
def test_scores_of_any_content_are_read_or_named(
    original: Path, tmp_path: Path, key: str, value: Any, drop: bool
) -> None:
    with copied(original, tmp_path) as path:
        mutate(sorted(path.glob("*/scores.json"))[0], key, value, drop)
        study = use(path)
        assert study is not None and len(study.scores) >= 3
        draw(study)
        with contextlib.suppress(UserError):
            watch(sorted(path.glob("*/scores.json"))[0].parent)


@HOW
@given(key=st.sampled_from(["", *STUDY_KEYS]), value=VALUES, drop=st.booleans())
def test_study_json_of_any_content_is_read_or_refused(
    original: Path, tmp_path: Path, key: str, value: Any, drop: bool
) -> None:
    with copied(original, tmp_path) as path:
        mutate(path / "study.json", key, value, drop)
        use(path)


@HOW
@given(
    name=st.sampled_from(["metrics.jsonl", "samples.jsonl"]),
    row=st.dictionaries(st.sampled_from(ROW_KEYS), VALUES, max_size=4),
    number=st.integers(0, 5),
    state=st.sampled_from(["finished", "running"]),
)
def test_rows_of_any_content_are_read_or_counted(
    original: Path, tmp_path: Path, name: str, row: dict[str, Any], number: int, state: str
) -> None:
    with copied(original, tmp_path) as path:
        file = sorted(path.glob(f"*/{name}"))[0]
        lines = file.read_bytes().split(b"\n")
        lines.insert(number, json.dumps(row).encode())
        file.write_bytes(b"\n".join(lines))
        study = use(path)
        assert study is not None and len(study.scores) == 4
        draw(study)
        with contextlib.suppress(UserError):
            edit(file.parent / "run.json", state=state)
            watch(file.parent)
            rescored(file.parent, None, [])


def arrays(**changes: Any) -> bytes:
    """probes.npz with some arrays changed."""
    t = np.arange(3.0)
    made = {"t": t, "mse": t, "nll": t, "accuracy": t, "frequency": np.arange(4), "norm": np.ones(4)} | changes
    file = io.BytesIO()
    np.savez_compressed(file, **made)
    return file.getvalue()


def packed_otherwise() -> bytes:
    """A zip whose member is packed by a way that nobody has."""
    content = bytearray(arrays())
    start = content.find(b"PK\x01\x02")
    content[start + 10 : start + 12] = b"\x63\x00"
    return bytes(content)


def bzipped() -> bytes:
    """A zip of no arrays."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("t.npy", b"x" * 100)
    return file.getvalue()


PROBES = {
    "cut": arrays()[:-80],
    "empty": b"",
    "other packing": packed_otherwise(),
    "bzip2": bzipped(),
    "objects": arrays(norm=np.array([{}, 1, None, "x"], dtype=object)),
    "text": arrays(mse=np.array(["a", "b", "c"])),
    "complex": arrays(mse=np.arange(3) * 1j),
    "dates": arrays(frequency=np.array(["2020-01-01"] * 4, dtype="datetime64[D]")),
    "no characters": arrays(types=np.array([0x110000] * 4, "<u4").view("<U1")),
    "a bomb": arrays(norm=np.zeros(20_000_000)),
    "wrong length": arrays(mse=np.arange(2.0)),
    "two dimensions": arrays(t=np.ones((3, 3)), mse=np.ones((3, 3))),
    "scalar": arrays(norm=np.float64(1)),
    "records": arrays(norm=np.zeros(4, dtype=[("a", "f8")])),
}


@pytest.mark.parametrize("kind", PROBES)
def test_damaged_probes_are_named_and_the_run_counts(kind: str, original: Path, tmp_path: Path) -> None:
    with copied(original, tmp_path) as path:
        file = sorted(path.glob("*/probes.npz"))[0]
        file.write_bytes(PROBES[kind])
        study = use(path)
        assert study is not None and len(study.scores) == 4 and file.parent.name not in study.probes
        assert any(f"{file.parent.name}: probes.npz is unreadable" in note for note in study.notes)
        draw(study)


@settings(HOW, max_examples=40)
@given(data=st.data())
def test_flipped_probes_are_read_or_named(original: Path, tmp_path: Path, data: st.DataObject) -> None:
    with copied(original, tmp_path) as path:
        file = sorted(path.glob("*/probes.npz"))[0]
        content = bytearray(arrays())
        for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
            content[place] ^= data.draw(st.integers(1, 255))
        file.write_bytes(content[: data.draw(st.integers(len(content) // 2, len(content)))])
        value, complaint = run_folder.try_read(file)
        assert (value is None) != (complaint is None)
        if value is not None:
            draw(use(path) or pytest.fail("the study is whole"))


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search that is whole; its two studies are not there."""
    folder = write_search(tmp_path_factory.mktemp("searched"), "token_loss", rounds=2)
    for name in ("token_loss", "token_loss-tuned"):
        shutil.rmtree(folder.parent / name)  # reading them has its own tests
    return folder


@settings(HOW, max_examples=80)
@given(key=st.sampled_from(["", *SEARCH_KEYS]), value=VALUES, drop=st.booleans())
def test_search_json_of_any_content_is_read_or_refused(searched: Path, key: str, value: Any, drop: bool) -> None:
    file = searched / "search.json"
    whole = file.read_bytes()
    try:
        mutate(file, key, value, drop)
        ended(searched)
        try:
            found = load_search(searched)
        except UserError:
            return
        assert found is not None
        tuned_grids(found)
        search_footer(found)
        _ = found.importance, found.trials
    finally:
        file.write_bytes(whole)


def test_a_trial_that_runs_has_no_value_yet(searched: Path) -> None:
    file = searched / "search.json"
    whole = file.read_bytes()
    content = json.loads(whole)
    for name in ("value", "values", "objectives", "outcomes", "decode_ms", "seconds", "updates"):
        del content["trials"][-1][name]
    content["trials"][-1]["state"] = "running"
    file.write_text(json.dumps(content))
    try:
        assert load_search(searched) is not None
    finally:
        file.write_bytes(whole)


@pytest.mark.parametrize(
    "wrong", [{"round": None}, {"value": "high"}, {"arm": "none of them"}, "text", {"params": [1]}]
)
def test_a_damaged_trial_is_left_out_and_said(searched: Path, wrong: Any) -> None:
    file = searched / "search.json"
    whole = file.read_text()
    content = json.loads(whole)
    trials = content["trials"]
    content["trials"] = [trials[0] | wrong if isinstance(wrong, dict) else wrong, *trials[1:]]
    try:
        file.write_text(json.dumps(content))
        found = load_search(searched)
        assert found is not None and found.search["trials"] == trials[1:]
        (said,) = [note for note in found.notes if "trials in search.json" in note]
        assert said.startswith("1 of the trials") and "trials[0]" in said
        tuned_grids(found)
        search_footer(found)
    finally:
        file.write_text(whole)


@pytest.mark.parametrize(
    "change", [{"importance": {"evaluator": "x", "arms": {"no arm": {"lr": 1.0}}}}, {"own": {"anchor": {}}}]
)
def test_a_search_whose_parts_do_not_fit_together_is_refused(searched: Path, change: Any) -> None:
    file = searched / "search.json"
    whole = file.read_text()
    try:
        file.write_text(json.dumps(json.loads(whole) | change))
        with pytest.raises(UserError, match=r"`(importance|own)"):
            load_search(searched)
    finally:
        file.write_text(whole)
