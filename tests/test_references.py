"""Several references of held-out sentences: read, scored, recorded, and part of a corpus's digest where they are."""

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sacrebleu

from ablations import evaluate, records
from ablations.distill.corpus import reference_texts
from ablations.execute import execute, folder_of, single_arm
from ablations.place import Place
from ablations.presets import get
from core import scores
from core.config import with_values
from core.errors import UserError
from core.evaluator import Evaluator, new_network
from core.run_folder import read
from core.sections import DataConfig
from core.text import corpus
from core.text.materials import device_for, prepare
from core.text.references import of_pairs

SOURCES = [f"a{i} b{i} c{i} d{i} e{i}" for i in range(12)]


def written(path: Path, **more: list[str]) -> DataConfig:
    """A folder of text; more: lines of other files by name, with _ for the dot."""
    path.mkdir()
    for split, count in (("train", 12), ("valid", 4), ("test", 4)):
        for side in ("de", "en"):
            lines = [line.upper() if side == "en" else line for line in SOURCES[:count]]
            (path / f"{split}.{side}").write_text("\n".join(lines) + "\n")
    for name, lines in more.items():
        (path / name.replace("_", ".")).write_text("\n".join(lines) + "\n")
    return DataConfig(data=str(path), vocab_size=300)


def targets(count: int = 4) -> list[str]:
    return [line.upper() for line in SOURCES[:count]]


def test_all_references_are_read_and_blank_lines_are_none(tmp_path: Path) -> None:
    second = ["one more", "", "  ", "three"]
    config = written(tmp_path / "text", test_ref0=targets(), test_ref1=second, test_ref10=["x", "", "", ""])
    found = corpus.load(config).references
    assert found == {"test": [[targets()[0], "one more", "x"], [targets()[1]], [targets()[2]], [targets()[3], "three"]]}
    materials = prepare(config)
    assert materials.test.references == found["test"] and materials.valid.references == [[line] for line in targets()]
    assert materials.test.head(2).references == found["test"][:2]
    assert materials.facts()["references"] == {"test": 3}


def test_a_target_that_is_none_of_them_is_one_more(tmp_path: Path) -> None:
    config = written(tmp_path / "text", valid_ref0=["a", "b", "", "d"])
    wanted = [[targets()[0], "a"], [targets()[1], "b"], [targets()[2]], [targets()[3], "d"]]
    assert corpus.load(config).references == {"valid": wanted}


def test_pairs_that_were_left_out_take_their_references_with_them() -> None:
    targets, groups = ["a", "b", "a", "c"], [["a", "1"], ["b"], ["a", "2"], ["c", "3"]]
    assert of_pairs(groups, targets, ["a", "a", "c"]) == [["a", "1"], ["a", "2"], ["c", "3"]]
    assert of_pairs(groups, targets, ["b", "c"]) == [["b"], ["c", "3"]]
    with pytest.raises(UserError, match="the target 'x' was changed in reading"):
        of_pairs(groups, targets, ["a", "x"])


def test_the_target_side_may_be_one_of_them_and_files_may_be_packed(tmp_path: Path) -> None:
    config = written(tmp_path / "text", train_ref0=targets(12), valid_ref0=targets(), test_ref0=targets())
    packed = gzip.compress("\n".join(["z"] * 4).encode())
    (tmp_path / "text" / "test.ref1.gz").write_bytes(packed)
    config = DataConfig(data=config.data, tgt="ref0", vocab_size=300)
    assert corpus.load(config).references == {"test": [[line, "z"] for line in targets()]}


def test_the_digest_changes_only_where_there_are_some(tmp_path: Path) -> None:
    alone = written(tmp_path / "alone")
    assert corpus.digest(alone) == "31b95f529aee34f1", "as before there were references"
    digests = {corpus.digest(alone)}
    for name, more in {
        "test": {"test_ref0": targets()},
        "valid": {"valid_ref0": targets()},
        "second": {"test_ref1": targets()},
        "other": {"test_ref0": [*targets(3), ""]},
    }.items():
        digests.add(corpus.digest(written(tmp_path / name, **more)))
    assert len(digests) == 5


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"test_ref1": ["a", "b"]}, r"test\.ref1 has 2 lines, test\.en has 4; line n of one must be another reference"),
        ({"test_ref1": targets(), "test_ref1_gz": []}, r"both .*test\.ref1 and test\.ref1\.gz exist"),
    ],
)
def test_what_is_wrong_with_them_is_said(more: dict[str, list[str]], says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=says):
        corpus.load(written(tmp_path / "text", **more))


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to(path.name)])
def test_what_is_no_file_of_references_is_named(make: Callable[[Path], None], tmp_path: Path) -> None:
    config = written(tmp_path / "text")
    make(tmp_path / "text" / "test.ref0")
    with pytest.raises(UserError, match=r"test\.ref0 is a .*; put the references themselves there"):
        corpus.load(config)


def test_a_run_is_scored_against_all_of_them(tmp_path: Path) -> None:
    """In samples.jsonl, by signature, in validation; the scores are sacreBLEU's of what was written."""
    second = ["", "a1 b1 c1 d1", "", "q r s t u"]
    data = written(tmp_path / "text", test_ref0=targets(), test_ref1=second, valid_ref1=second)
    values: dict[str, Any] = {"data": data.data, "vocab_size": 300, "updates": 4, "valid_every": 4, "batch_tokens": 64}
    config = with_values(get("smoke").config, values)
    folder = folder_of(config, single_arm(config), "single", tmp_path / "runs")
    assert records.claim(folder)
    found = execute(config, folder, records.NullTracker(), Place())
    records.release(folder)
    rows = read(folder / "samples.jsonl")
    assert [row["references"] for row in rows][:2] == [[targets()[0]], [targets()[1], second[1]]]
    texts = [row["hypothesis"] for row in rows]
    streams: list[Any] = [targets(), [line or None for line in second]]
    assert found["bleu"] == sacrebleu.corpus_bleu(texts, streams).score
    assert found["chrf"] == sacrebleu.corpus_chrf(texts, streams).score
    assert all("nrefs:var|" in found[name] for name in ("signature", "chrf_signature", "rouge_signature"))
    assert rows[1]["sentence_bleu"] == scores.sentence_bleu(texts[1], rows[1]["references"])
    assert json.loads((folder / "run.json").read_text())["data"]["references"] == {"valid": 2, "test": 2}


def test_each_sentence_is_scored_against_all_of_its_references(tmp_path: Path) -> None:
    second = ["", "q r s t u", "", ""]
    data = written(tmp_path / "text", test_ref0=targets(), test_ref1=second)
    config = with_values(get("smoke").config, {"data": data.data, "vocab_size": 300})
    evaluator = Evaluator(prepare(config.data), config, device_for("cpu"))
    network = new_network(config, evaluator.method, evaluator.materials, evaluator.device).eval()
    rows = [json.loads(line) for line in evaluate.samples(evaluator, network, [second[1]] * 4).splitlines()]
    assert [row["sentence_bleu"] for row in rows] == pytest.approx([0, 100, 0, 0])


def test_a_distilled_corpus_keeps_them(tmp_path: Path) -> None:
    before = corpus.load(written(tmp_path / "text", test_ref0=targets(), test_ref1=["a", "", "b", ""]))
    files = reference_texts(before.references)
    assert set(files) == {"test.ref0", "test.ref1"}
    config = written(tmp_path / "copy")
    for name, content in files.items():
        (tmp_path / "copy" / name).write_bytes(content)
    assert corpus.load(config).references == before.references
