"""Files of tensors: what was written comes back, what is not as written is noticed, and what lasts is on the disk."""

import dataclasses
import itertools
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from ablations import presets, records, shared_training
from ablations.launch import launch
from ablations.place import Place
from core import checkpoints, model_folder, run_folder
from core.checkpoints import Damaged
from core.config import RunConfig, with_values
from core.errors import UserError
from core.run_folder import METRICS, PROBES, RUN, SAMPLES, SCORES, STATE, TOKENIZER, WEIGHTS

TENSORS = {
    "a": torch.arange(6.0).reshape(2, 3),
    "b/c": torch.tensor(3),
    "half": torch.ones(2).bfloat16(),
    "flags": torch.tensor([True, False]),
    "none": torch.zeros(0, 4),
}
FACTS = {"step": 3, "best": [[1.5, 2]], "seconds": 0.25}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        one[n].dtype == other[n].dtype and torch.equal(one[n], other[n]) for n in one
    )


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    """But where it changes nothing that is read."""
    path = tmp_path / "x.safetensors"
    checkpoints.save(path, TENSORS, FACTS)
    whole, harmless = path.read_bytes(), 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << place % 8)]) + whole[place + 1 :])
        try:
            tensors, facts = checkpoints.load(path)
        except Damaged:
            continue
        assert same(tensors, TENSORS) and facts == FACTS
        harmless += 1
    assert harmless < 20


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    checkpoints.save(path, TENSORS, FACTS)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(Damaged, match="not a readable checkpoint"):
            checkpoints.load(path)


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, said in (("pipe", "no regular file"), (".", "no regular file"), ("none", "no such checkpoint")):
        with pytest.raises(UserError, match=said):
            checkpoints.load(tmp_path / name)


def test_tensors_and_facts_of_another_file_are_noticed(tmp_path: Path) -> None:
    """A checksum covers names, kinds, shapes and facts as well as numbers."""
    checkpoints.save(tmp_path / "x", {"a": torch.zeros(4)}, {"step": 1})
    said = checkpoints.checksum({"a": torch.zeros(4)}, '{"step": 1}')
    others: list[tuple[dict[str, torch.Tensor], str]] = [
        ({"b": torch.zeros(4)}, '{"step": 1}'),
        ({"a": torch.zeros(2, 2)}, '{"step": 1}'),
        ({"a": torch.zeros(4, dtype=torch.int32)}, '{"step": 1}'),
        ({"a": torch.zeros(4)}, '{"step": 2}'),
    ]
    for tensors, facts in others:
        save_file(tensors, tmp_path / "y", {"facts": facts, "checksum": said})
        with pytest.raises(Damaged, match="checksum differs"):
            checkpoints.load(tmp_path / "y")
    save_file({"a": torch.zeros(4)}, tmp_path / "y", {"facts": '{"step": 1}', "checksum": said})
    assert checkpoints.load(tmp_path / "y")[1] == {"step": 1}


def test_files_of_earlier_versions_have_no_checksum(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "x", {"facts": json.dumps(FACTS)})
    assert same(checkpoints.load(tmp_path / "x")[0], TENSORS) and checkpoints.load(tmp_path / "x")[1] == FACTS
    save_file(TENSORS, tmp_path / "x", {"facts": "[" * 100_000})
    with pytest.raises(Damaged, match="nested deeper"):
        checkpoints.load(tmp_path / "x")


# A finished run


def smoke(**values: Any) -> RunConfig:
    return with_values(presets.get("smoke").config, {"updates": 6, "valid_every": 3, **values})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    runs = tmp_path_factory.mktemp("runs")
    launch(smoke(), Place(runs=runs), "smoke")
    (folder,) = runs.glob("single/*-s1-*")
    return folder


DAMAGE: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "flipped": lambda path: path.write_bytes(path.read_bytes()[:-100] + b"?" + path.read_bytes()[-99:]),
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_weights_of_a_finished_run_that_are_not_as_written_are_not_used(how: str, made: Path) -> None:
    path, name = made / WEIGHTS, re.escape(made.name)
    whole = path.read_bytes()
    DAMAGE[how](path)
    try:
        with pytest.raises(UserError, match=rf"model\.safetensors: .*delete .*{name} and start") as error:
            model_folder.load(made, torch.device("cpu"))
        assert "on purpose" not in str(error.value)
        other = made.with_name("other")
        other.mkdir(exist_ok=True)
        run_folder.write_json(other / RUN, records.read(made))
        said: list[str] = []
        assert shared_training.find(other, records.read(made)["training_hash"], say=said.append) is None
        assert len(said) == 1 and said[0].endswith(f"the training of {made.name} is not taken over")
    finally:
        path.write_bytes(whole)
    assert shared_training.find(other, records.read(made)["training_hash"]) == made
    assert records.read(made)["state"] == "finished"


def test_a_training_that_is_not_taken_over_is_made_anew_and_the_record_says_why(tmp_path: Path) -> None:
    launch(smoke(), Place(runs=tmp_path), "smoke")
    (one,) = tmp_path.glob("single/*-s1-*")
    weights = checkpoints.load(one / WEIGHTS)[0]
    DAMAGE["flipped"](one / STATE)
    launch(smoke(decoding_steps=10, early_stop=2), Place(runs=tmp_path), "smoke")
    (two,) = set(tmp_path.glob("single/*-s1-*")) - {one}
    record = records.read(two)
    assert record["state"] == "finished" and "trained_by" not in record
    (note,) = record["notes"]
    assert "state.safetensors: damaged" in note and note.endswith(f"the training of {one.name} is not taken over")
    assert same(checkpoints.load(two / WEIGHTS)[0], weights), "equal options and seed: the same training"


def test_weights_deleted_on_purpose_are_told_apart(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / made.name
    folder.mkdir()
    for path in made.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    assert "weights" not in records.read(folder)
    records.lighten(folder)
    assert records.read(folder)["weights"] == "deleted" and records.read(folder)["state"] == "finished"
    with pytest.raises(UserError, match="deleted on purpose, the scores of this run were all that was needed"):
        model_folder.load(folder, torch.device("cpu"))
    with pytest.raises(UserError, match="no such checkpoint; name a run folder"):
        model_folder.load(tmp_path, torch.device("cpu"))


WRONG: dict[str, Callable[[dict[str, Any]], object]] = {
    "no options": lambda facts: facts.pop("config"),
    "no vocabulary": lambda facts: facts.pop("vocab"),
    "options in a list": lambda facts: facts.update(config=[1]),
    "options of options": lambda facts: facts["config"].update(model_dim=[8]),
    "an unknown option": lambda facts: facts["config"].update(colour=3),
    "an unknown method": lambda facts: facts.update(method="magic"),
    "no name of a method": lambda facts: facts.update(method=[1]),
    "a large network": lambda facts: facts["config"].update(model_dim=10**9),
    "a deep network": lambda facts: facts["config"].update(encoder_layers=10**9),
    "a long process": lambda facts: facts["config"].update(diffusion_steps=10**12),
    "another network": lambda facts: facts["config"].update(model_dim=16),
    "many positions": lambda facts: facts.update(max_positions=10**12),
    "positions that are text": lambda facts: facts.update(max_positions="many"),
    "a large vocabulary": lambda facts: facts.update(vocab=10**12),
    "less than no vocabulary": lambda facts: facts.update(vocab=-3),
}


@pytest.mark.parametrize("name", WRONG)
def test_weights_whose_facts_no_run_has_are_refused(name: str, made: Path, tmp_path: Path) -> None:
    tensors, facts = checkpoints.load(made / WEIGHTS)
    WRONG[name](facts)
    checkpoints.save(tmp_path / WEIGHTS, tensors, facts)
    (tmp_path / TOKENIZER).write_bytes((made / TOKENIZER).read_bytes())
    with pytest.raises(UserError, match=r"model\.safetensors: "):
        model_folder.load(tmp_path, torch.device("cpu"))


@pytest.mark.parametrize("state", ["[]", '["a"]', '{"a": 1}', "3", "null", '[["a"]]', ""])
def test_a_tokenizer_of_another_model_is_refused(state: str, made: Path, tmp_path: Path) -> None:
    (tmp_path / WEIGHTS).write_bytes((made / WEIGHTS).read_bytes())
    types = [0] * (checkpoints.load(made / WEIGHTS)[1]["vocab"] - 4)
    (tmp_path / TOKENIZER).write_text(f'{{"format": 1, "kind": "words", "state": {state or types}}}')
    with pytest.raises(UserError, match=r"tokenizer\.json"):
        model_folder.load(tmp_path, torch.device("cpu"))


# Power cuts


@dataclasses.dataclass
class Disk:
    """What reaches the disk, in order: the names of files synced and of files renamed; when a record said finished."""

    happened: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    finished: list[int] = dataclasses.field(default_factory=list)

    def of(self, name: str) -> list[int]:
        """When a file of that name was renamed."""
        return [index for index, (what, which) in enumerate(self.happened) if (what, which) == ("renamed", name)]


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """Records what is synced and renamed."""
    found, fsync, replace = Disk(), os.fsync, os.replace

    def syncing(handle: int) -> None:
        fsync(handle)
        found.happened.append(("synced", os.path.basename(os.readlink(f"/proc/self/fd/{handle}"))))

    def replacing(source: Path, target: Path) -> None:
        replace(source, target)
        found.happened.append(("renamed", Path(target).name))
        if Path(target).name == RUN and json.loads(Path(target).read_text())["state"] == "finished":
            found.finished.append(len(found.happened) - 1)

    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(os, "replace", replacing)
    return found


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc, which Linux has")
def test_all_of_a_run_is_on_the_disk_before_its_record_says_finished(tmp_path: Path, disk: Disk) -> None:
    launch(smoke(checkpoint_seconds=0.0), Place(runs=tmp_path), "smoke")
    (folder,) = tmp_path.glob("single/*-s1-*")
    (finished,) = disk.finished
    for name in (STATE, WEIGHTS, TOKENIZER, SAMPLES, PROBES, SCORES):
        last = disk.of(name)[-1]
        before, after = disk.happened[last - 1], disk.happened[last + 1]
        assert before[0] == "synced" and before[1].startswith(f".{name}."), "the file, before it has its name"
        assert after == ("synced", folder.name), "its name"
        assert last < finished
    assert disk.happened[finished + 1] == ("synced", folder.name)
    times = [0, *disk.of(STATE), finished]
    assert len(times) > 4
    for start, end in itertools.pairwise(times):
        assert ("synced", METRICS) in disk.happened[start:end], "the rows that a checkpoint counts on, and the last"


def test_the_same_checkpoint_is_always_the_same_bytes(tmp_path: Path) -> None:
    written = set()
    for _ in range(20):
        checkpoints.save(tmp_path / "x", TENSORS, FACTS)
        written.add((tmp_path / "x").read_bytes())
    assert len(written) == 1


def test_a_file_that_is_replaced_while_it_is_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Head and numbers came from two files, and the checksum of a good checkpoint differed."""
    path, own = tmp_path / "state.safetensors", checkpoints.checksum
    checkpoints.save(path, {"w": torch.zeros(2)}, {"step": 1})

    def replaced(tensors: dict[str, torch.Tensor], facts: str) -> str:
        monkeypatch.setattr(checkpoints, "checksum", own)
        checkpoints.save(path, {"w": torch.ones(2)}, {"step": 2})
        return "another"

    monkeypatch.setattr(checkpoints, "checksum", replaced)
    tensors, facts = checkpoints.load(path)
    assert facts == {"step": 2} and tensors["w"].tolist() == [1.0, 1.0]
