"""Distillation from command to corpus folder: interrupted and resumed, its origin in runs and tables, wrong uses."""

import dataclasses
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_runs import write_study

from ablations.distill import __main__ as distill
from ablations.distill.corpus import line_of
from analysis import footer, load
from core import checkpoints, methods, model_folder, run_folder
from core.config import RunConfig, flat, with_values
from core.errors import UserError
from core.methods import autoregressive
from core.sections import DataConfig
from core.text import corpus, origin
from core.text.complexity import translation_entropy
from core.text.materials import prepare

ROOT = Path(__file__).resolve().parent.parent
TYPES = 320
TEACHER = ["--preset", "smoke", "--updates", "30", "--lr", "4e-3", "--valid_every", "15", "--beam", "2"]


def options(*arguments: str) -> distill.Options:
    return distill.parse([*TEACHER, *arguments])


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded corpus as a folder: one file packed, one training source too long for the teacher."""
    folder = tmp_path_factory.mktemp("text")
    embedded = corpus.load(DataConfig(corpus_pairs=300, corpus_heldout=12, corpus_lexicon=60))
    train = [*embedded.train, ("word " * 80, "long")]
    for split, pairs in (("train", train), ("valid", embedded.valid), ("test", embedded.test)):
        for side, suffix in enumerate(("xx", "yy")):
            (folder / f"{split}.{suffix}").write_text("".join(f"{pair[side]}\n" for pair in pairs))
    packed = folder / "valid.yy"
    (folder / "valid.yy.gz").write_bytes(gzip.compress(packed.read_bytes()))
    packed.unlink()
    return folder


def on(text: Path, out: Path, *more: str) -> list[str]:
    """The arguments for a distillation of that folder."""
    return ["--data", str(text), "--src", "xx", "--tgt", "yy", "--max_length", "60", "--out", str(out), *more]


@pytest.fixture(scope="session")
def made(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The distilled folder."""
    return distill.distill(options(*on(text, tmp_path_factory.mktemp("new") / "distilled")))


def lines(folder: Path, name: str) -> list[str]:
    return (folder / name).read_text().splitlines()


def data(folder: Path, **values: Any) -> DataConfig:
    return DataConfig(data=str(folder), src="xx", tgt="yy", vocab_size=TYPES, **values)


def test_only_the_training_targets_are_new(text: Path, made: Path) -> None:
    for name in ("valid.xx", "test.xx", "test.yy"):
        assert lines(made, name) == lines(text, name)
    assert lines(made, "valid.yy") == gzip.decompress((text / "valid.yy.gz").read_bytes()).decode().splitlines()
    assert lines(made, "train.xx") == lines(text, "train.xx")[:-1]  # the last is too long
    assert len(lines(made, "train.yy")) == 300
    assert lines(made, "train.yy") != lines(text, "train.yy")[:-1]


def translated(folder: Path, lines: list[str], *more: str) -> list[str]:
    """What python -m core.translate makes of lines with the model of a folder."""
    line = [sys.executable, "-m", "core.translate", str(folder), *more]
    done = subprocess.run(line, cwd=ROOT, input="\n".join(lines), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_targets_are_what_the_saved_teacher_writes(made: Path) -> None:
    assert translated(made / "teacher", lines(made, "train.xx")) == lines(made, "train.yy")


@pytest.mark.parametrize("odd", ["a\nb", "a\r", "a\r\nb\n"])
def test_each_pair_is_one_line_whatever_is_in_it(odd: str) -> None:
    line = line_of(odd)
    assert "\n" not in line and not line.endswith("\r") and line.split() == odd.split()
    assert [line_of(same) for same in ("a\rb", "\u2028", "plain")] == ["a\rb", "\u2028", "plain"]


def test_json_lines_are_distilled_into_files_of_lines(tmp_path: Path) -> None:
    folder = tmp_path / "rows"
    folder.mkdir()
    for split in corpus.SPLITS:
        rows = [{"src": f"a\nb {n}", "trg": f"c {n}"} for n in range(12)]
        (folder / f"{split}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    out = distill.distill(options("--data", str(folder), "--out", str(tmp_path / "new"), "--updates", "2"))
    made = corpus.load(DataConfig(data=str(out)))
    assert [source for source, _ in made.test] == [f"a b {n}" for n in range(12)] and len(made.train) <= 12


CPU = torch.device("cpu")


@pytest.mark.parametrize("method", ["autoregressive", "difformer"])
def test_a_folder_is_loaded_as_what_it_holds(method: str, made: Path, tmp_path: Path) -> None:
    values = {"method": method, "model_dim": 16, "ffn_dim": 16, "heads": 2}
    config = with_values(RunConfig(), values)
    network = methods.method_for(config.method).build(TYPES, 10)
    model_folder.save_weights(tmp_path, network, config)
    (tmp_path / "tokenizer.json").write_bytes((made / "teacher" / "tokenizer.json").read_bytes())
    model = model_folder.load(tmp_path, CPU)
    assert (model.config, model.method.options, type(model.network)) == (config, config.method, type(network))
    weights = model.network.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())


OLDER = {"noise_factor": 4.0, "latent_dim": 16, "token_loss": "anchor", "early_stop": 5, "selection": "mbr"}
"""Some of the options that the files of all models held when there was one namespace for them."""


def test_a_teacher_made_before_methods_writes_the_same(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "teacher"
    shutil.copytree(made / "teacher", folder)
    tensors, facts = checkpoints.load(folder / run_folder.WEIGHTS)
    assert facts.pop("method") == "autoregressive"
    config = {
        name: value for name, value in facts["config"].items() if name not in ("method", "beam", "length_penalty")
    }
    checkpoints.save(folder / run_folder.WEIGHTS, tensors, facts | {"kind": "Autoregressive", "config": config | OLDER})
    some = lines(made, "test.xx")[:4]
    assert translated(folder, some, "--beam", "2") == translated(made / "teacher", some)


@pytest.mark.parametrize("kind", [{}, {"kind": "Difformer"}], ids=["of no kind", "of a kind"])
def test_weights_made_before_methods_are_difformers(kind: dict[str, str], made: Path, tmp_path: Path) -> None:
    config = with_values(
        RunConfig(), {"model_dim": 16, "latent_dim": 8, "ffn_dim": 16, "heads": 2, "noise_factor": 2.0}
    )
    network = methods.method_for(config.method).build(TYPES, 10)
    tensors = {name: value for name, value in network.state_dict().items() if not name.startswith("process.")}
    assert len(network.state_dict()) - len(tensors) == 2
    facts = {"config": flat(config), "vocab": TYPES, "max_positions": 10}
    checkpoints.save(tmp_path / run_folder.WEIGHTS, tensors, facts | kind)
    (tmp_path / "tokenizer.json").write_bytes((made / "teacher" / "tokenizer.json").read_bytes())
    model = model_folder.load(tmp_path, CPU)
    assert model.config == config
    weights = model.network.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())


def test_weights_that_do_not_fit_are_named(made: Path, tmp_path: Path) -> None:
    tensors, facts = checkpoints.load(made / "teacher" / run_folder.WEIGHTS)
    for changed in ({}, tensors | {"more": torch.zeros(1)}, dict(list(tensors.items())[1:])):
        checkpoints.save(tmp_path / run_folder.WEIGHTS, changed, facts)
        with pytest.raises(UserError, match=r"model\.safetensors: weights do not fit the options"):
            model_folder.load(tmp_path, CPU)
    checkpoints.save(tmp_path / run_folder.WEIGHTS, tensors, facts | {"method": "autoregresive"})
    with pytest.raises(UserError, match="unknown method 'autoregresive'"):
        model_folder.load(tmp_path, CPU)


def test_corpus_json_says_where_the_text_comes_from(text: Path, made: Path) -> None:
    found = json.loads((made / "corpus.json").read_text())
    source = corpus.load(data(text))
    assert found["made_by"] == "distillation"
    assert found["source"] == {"name": source.name, "digest": source.digest, "train_pairs": 301}
    assert found["decoding"] == {"beam": 2, "length_penalty": 1.0}
    assert found["teacher"]["updates"] == 30 and found["teacher"]["options"]["lr"] == 4e-3
    assert found["teacher"]["signature"].startswith("nrefs:1|")
    targets, new, old = found["targets"], lines(made, "train.yy"), lines(text, "train.yy")[:-1]
    assert (targets["written"], targets["left_out"]) == (300, 1)
    assert targets["identical"] == sum(one == other for one, other in zip(new, old, strict=True))
    assert (targets["unique"], targets["unique_before"]) == (len(set(new)), len(set(old)))
    entropy = translation_entropy(list(zip(lines(made, "train.xx"), new, strict=True)))
    assert targets["translation_entropy"] == entropy != targets["translation_entropy_before"]
    assert f"{targets['written']} targets" in (made / "README.md").read_text()


def test_a_run_on_it_repeats_the_lineage_and_its_identity_is_the_texts(made: Path, tmp_path: Path) -> None:
    found = prepare(data(made)).facts()["lineage"]
    assert found == json.loads((made / "corpus.json").read_text())
    bare = tmp_path / made.name
    bare.mkdir()
    for path in [*made.glob("*.xx"), *made.glob("*.yy")]:
        (bare / path.name).write_bytes(path.read_bytes())
    alone = corpus.load(data(bare))
    assert alone.lineage is None and alone == dataclasses.replace(corpus.load(data(made)), lineage=None)
    assert "lineage" not in prepare(data(bare)).facts()


def test_the_embedded_corpus_is_named_by_its_options(tmp_path: Path) -> None:
    out = distill.distill(options("--out", str(tmp_path / "new"), "--updates", "2", "--corpus_pairs", "40"))
    source = json.loads((out / "corpus.json").read_text())["source"]
    assert (source["name"], source["corpus_pairs"], source["corpus_variant"]) == (
        "embedded (translate)",
        40,
        "translate",
    )
    assert len(corpus.load(DataConfig(data=str(out))).train) == 40


def test_what_is_distilled_twice_keeps_its_whole_history(made: Path, tmp_path: Path) -> None:
    again = distill.distill(options(*on(made, tmp_path / "twice", "--updates", "2", "--train_limit", "40")))
    source = json.loads((again / "corpus.json").read_text())["source"]
    assert source["lineage"] == json.loads((made / "corpus.json").read_text())


def test_text_changed_by_hand_has_that_origin_no_more(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "changed"
    folder.mkdir()
    for path in made.iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    (folder / "train.yy").write_text("".join(f"{line}!\n" for line in lines(made, "train.yy")))
    with pytest.raises(UserError, match=r"train\.yy was changed since the corpus was made"):
        corpus.load(data(folder))
    (folder / "corpus.json").unlink()
    assert corpus.load(data(folder)).lineage is None


@pytest.mark.parametrize("content", ["{", "[]", '{"made_by": "distillation"}', '{"made_by": "", "source": {}}'])
def test_a_broken_lineage_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "corpus.json").write_text(content)
    with pytest.raises(UserError, match=r"corpus\.json: cannot be read as a corpus's lineage"):
        origin.read(tmp_path, {})


# Interruptions


def same_text(one: Path, other: Path) -> bool:
    names = [f"{split}.{suffix}" for split in corpus.SPLITS for suffix in ("xx", "yy")]
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


@pytest.mark.parametrize("calls", [0, 1])
def test_stopped_while_writing_it_goes_on(
    calls: int, text: Path, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, whole = options(*on(text, tmp_path / "half")), autoregressive.beam_search
    left = [calls + 2]  # two of them score; validation is greedy

    def stopping(*arguments: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise InterruptedError
        return whole(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(autoregressive, "beam_search", stopping)
        with pytest.raises(InterruptedError):
            distill.distill(ours)
    assert not (tmp_path / "half" / "corpus.json").exists()
    assert len(run_folder.read(tmp_path / "half" / "teacher" / "written.jsonl")) == calls
    assert same_text(distill.distill(ours), made)


def command(*arguments: str) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", "ablations.distill", *TEACHER, *arguments]
    return subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_killed_and_started_again_the_command_ends_with_the_same_corpus(text: Path, made: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    killed, state = command(*on(text, out)), out / "teacher" / "state.safetensors"
    deadline = time.monotonic() + 120
    while not state.exists() and killed.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert state.exists() and not (out / "corpus.json").exists()
    again = command(*on(text, out))
    shown, errors = again.communicate()
    assert (again.returncode, errors.count("Traceback")) == (0, 0)
    assert f"make sweep DATA={out} SRC=xx TGT=yy" in shown
    assert same_text(out, made)
    before = os.stat(out / "corpus.json").st_mtime_ns
    assert distill.distill(options(*on(text, out))) == out
    assert os.stat(out / "corpus.json").st_mtime_ns == before


# Wrong options


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], r"option out: name the folder for the new corpus, --out FOLDER"),
        (["--out", "x", "--beam", "0"], "option beam: 0 must be at least 1"),
        (["--out", "x", "--length_penalty", "-1"], r"option length_penalty: -1\.0 must lie between 0 and 10"),
        (
            ["--out", "x", "--latent_dim", "8"],
            "option latent_dim: method autoregressive does not read it; it belongs to difformer",
        ),
        (["--out", "x", "--src", "fr"], "options src and tgt: name the folder of text too"),
        (["--out", "x", "--heads", "5"], "option heads: 5 must divide model_dim"),
        (["--out", "x", "--activation", "rel"], "'relu'"),
        (["--out", "x", "--preset", "tinny"], "'tiny'"),
        (["--out", "x", "--data", "nowhere"], "nowhere does not exist"),
    ],
)
def test_wrong_options_get_one_message(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message) as caught:
        distill.distill(options(*arguments))
    assert "\n" not in str(caught.value) and list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_else_is_left_alone(text: Path, made: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is the folder of the text itself"):
        distill.distill(options(*on(text, text)))
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="is no unfinished distillation"):
        distill.distill(options(*on(text, tmp_path)))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(UserError, match=r"other text or options \(beam 2 there, 3 here\)"):
        distill.distill(options(*on(text, made, "--beam", "3")))


def test_a_teacher_that_diverges_writes_nothing(text: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the teacher's loss is not a number"):
        distill.distill(options(*on(text, tmp_path / "x", "--lr", "1e30", "--warmup", "0", "--log_every", "1")))
    assert not (tmp_path / "x" / "train.yy").exists()


# The table


def test_the_footer_names_teacher_and_source(tmp_path: Path) -> None:
    folder = write_study(tmp_path, "modules", seeds=(1, 2))
    source = {"name": "text xx-yy", "digest": "0123456789abcdef"}
    teacher = {"hash": "cafe0123", "bleu": 31.256}
    made = {"made_by": "distillation", "source": source, "teacher": teacher, "decoding": {"beam": 5}}
    before = "\n".join(footer.footer(load.load(folder)))
    for path in folder.glob("*/run.json"):
        record = json.loads(path.read_text())
        path.write_text(json.dumps(record | {"data": record["data"] | {"lineage": made}}))
    after = "\n".join(footer.footer(load.load(folder)))
    line = ", distilled by teacher cafe0123 (test BLEU 31.26, beam 5) from text xx-yy (0123456789abcdef)"
    assert line not in before and after.replace(line, "") == before
