"""The released implementation's recordings and checkpoints."""

import argparse
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core import model_folder, official
from core.errors import UserError
from core.released import comparison, reading, replay
from core.released.dictionary import read_dictionary
from core.text.tokenizer import UNK, Subwords

GOLDEN = Path(__file__).parent / "golden"
CASES = sorted(path for path in GOLDEN.glob("*.npz") if "system" not in reading.read_recording(path)[0])
"""Those of Difformer."""
REAL = Path(__file__).parents[2] / "shared" / "golden" / "official_checkpoint"


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_recorded_case_is_reproduced(path: Path) -> None:
    report = replay.replay(path)
    assert report["tokens_identical"]
    assert max(report["differences"].values()) < 1e-5
    assert len(report["differences"]) == 14


def test_a_wrong_weight_is_noticed(tmp_path: Path) -> None:
    with np.load(CASES[0]) as file:
        arrays = dict(file)
    arrays["weight/decoder.layers.0.fc1.bias"] = arrays["weight/decoder.layers.0.fc1.bias"] + 0.01
    np.savez(tmp_path / "wrong.npz", **arrays)
    assert replay.replay(tmp_path / "wrong.npz")["largest"] > 1e-4


def changed(path: Path, options: dict[str, Any], **arrays: np.ndarray) -> Path:
    """The first recorded case with other options and arrays."""
    with np.load(CASES[0]) as file:
        case = dict(file) | arrays
    case["options"] = np.array(json.dumps(json.loads(str(case["options"])) | options))
    np.savez(path, **case)
    return path


def test_what_is_no_number_never_passes_for_agreement(tmp_path: Path) -> None:
    with np.load(CASES[0]) as file:
        z_t = np.full_like(file["z_t"], np.nan)
    done = run(changed(tmp_path / "nan.npz", {}, z_t=z_t))
    assert done.returncode == 1 and json.loads(done.stdout)["largest"] is None


def test_small_arrays_are_held_to_a_share_of_their_largest_value() -> None:
    found = comparison.Comparison()
    found.number("tT", torch.tensor([2e-5, 1.01e-5]), np.array([2e-5, 1e-5], np.float32))
    report = found.report()
    assert report["largest"] < 1e-6 and 0.004 < report["largest_share"] < 0.006 and not official.agrees(report)
    found = comparison.Comparison()
    found.number("none", torch.zeros(2), np.zeros(2, np.float32))
    assert official.agrees(found.report())


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"decoding_steps": 10}, "do not fit"),
        ({"model_dim": 64}, "do not fit"),
        ({"noise_schedule": "foo"}, "foo"),
        ({"activation_fn": "tanh"}, "tanh"),
    ],
)
def test_options_that_do_not_fit_get_one_clear_line(options: dict[str, Any], named: str, tmp_path: Path) -> None:
    done = run(changed(tmp_path / "case.npz", options))
    assert done.returncode == 2 and "Traceback" not in done.stderr and named in done.stderr


def test_a_pre_norm_decoder_is_told_by_its_final_norm() -> None:
    options, weights, _ = reading.read_recording(CASES[0])
    assert reading.configuration(options, weights).network.decoder_pre_norm is False
    final = {f"decoder.layer_norm.{kind}": torch.ones(32) for kind in ("weight", "bias")}
    config = reading.configuration(options, weights | final)
    assert config.network.decoder_pre_norm is True and config.network.pre_norm is False
    reading.build_model(config, weights | final)


def as_checkpoint(case: Path, path: Path) -> Path:
    """A checkpoint file as the released code writes it, from a recorded case."""
    options, weights, _ = reading.read_recording(case)
    content = {"args": argparse.Namespace(**options), "model": {k: v.half() for k, v in weights.items()}}
    torch.save(content, path)
    return path


def dictionary(path: Path, types: int) -> Path:
    path.write_text("".join(f"w{i} {types - i}\n" for i in range(types)))
    return path


def test_checkpoint_is_read_and_converted(tmp_path: Path) -> None:
    checkpoint = as_checkpoint(CASES[0], tmp_path / "checkpoint.pt")
    words = dictionary(tmp_path / "dict.txt", 40)
    _, model, config = replay.check_checkpoint(checkpoint, words, None)
    replay.convert(model, config, words, tmp_path / "ours")
    again = model_folder.load(tmp_path / "ours", torch.device("cpu"))
    assert torch.equal(again.network.embedding.table, model.embedding.table) and again.config == config
    assert len(again.tokenizer) == 44 and again.tokenizer.decode([0, 4, 5, 2]) == "w0 w1"


class Boom:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("echo executed > executed.txt",)


def evil_builtin() -> Any:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return eval, ("1 + 1",)

    return Evil()


@pytest.mark.parametrize("payload", [Boom(), evil_builtin()], ids=["os.system", "eval"])
def test_nothing_in_a_checkpoint_is_executed(payload: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"args": argparse.Namespace(), "model": payload}, tmp_path / "evil.pt")
    with pytest.raises(UserError, match="refused: the file asks for"):
        reading.read_checkpoint(tmp_path / "evil.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps({"args": payload}))
    with pytest.raises(UserError, match=r"plain\.pt"):
        reading.read_checkpoint(tmp_path / "plain.pt")
    assert not (tmp_path / "executed.txt").exists()


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "core.official", *map(str, arguments)], capture_output=True, text=True)


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04broken"])
def test_a_broken_file_gets_one_clear_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(content)
    (tmp_path / "x.pt").write_bytes(content)
    dictionary(tmp_path / "dict.txt", 3)
    for arguments in (["x.npz"], ["--checkpoint", "x.pt", "--dict", "dict.txt"]):
        done = run(*[tmp_path / a if "." in a else a for a in arguments])
        assert done.returncode == 2
        assert "Traceback" not in done.stderr and "error: " in done.stderr and "x." in done.stderr


def test_an_error_without_a_case_names_the_checkpoint(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: Any) -> None:
        raise RuntimeError("odd shapes")

    monkeypatch.setattr("core.released.replay.check_checkpoint", fail)
    monkeypatch.setattr(sys, "argv", ["official", "--checkpoint", "some.pt", "--dict", "dict.txt"])
    with pytest.raises(SystemExit):
        official.main()
    assert capsys.readouterr().err == "error: some.pt: arrays and options do not fit (odd shapes)\n"


def test_command_prints_one_json_object() -> None:
    done = run(CASES[0])
    assert done.returncode == 0
    assert json.loads(done.stdout)["tokens_identical"] is True


@pytest.mark.skipif(not REAL.exists(), reason="the released checkpoint is not beside this checkout (../shared/golden)")
def test_real_checkpoint_reproduces_its_tokens(tmp_path: Path) -> None:
    done = run("--checkpoint", REAL / "checkpoint.pt", "--dict", REAL / "dict.txt", "--case", REAL / "case.npz")
    report = json.loads(done.stdout)
    assert done.returncode == 0 and report["tokens_identical"] and report["largest"] < 1e-5
    assert report["texts"] == (REAL / "expected.txt").read_text().splitlines()


# dict.txt


@pytest.mark.parametrize("odd", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\xa0", "\u3000"])
def test_lines_of_a_dictionary_end_as_fairseq_ends_them(odd: str, tmp_path: Path) -> None:
    path = tmp_path / "dict.txt"
    path.write_bytes(f"w0 5\n{odd} 4\r\na{odd}b 3\rw3 2 #fairseq:overwrite\n".encode())
    assert read_dictionary(path) == ["w0", odd, f"a{odd}b", "w3"]


def test_a_type_twice_needs_the_flag(tmp_path: Path) -> None:
    path = tmp_path / "dict.txt"
    path.write_text("w0 5\n<unk> 3 #fairseq:overwrite\nw0 4 #fairseq:overwrite\n")
    assert read_dictionary(path) == ["w0", "<unk>", "w0"]
    assert Subwords(read_dictionary(path)).encode(["w0 <unk> w1"]) == [[6, 5, UNK]]
    for text, number in (("w0 5\nw0 4\n", 2), ("<s> 1\n", 1)):
        path.write_text(text)
        with pytest.raises(
            UserError, match=rf"dict.txt, line {number}: .* stands there already; .* #fairseq:overwrite"
        ):
            read_dictionary(path)


@pytest.mark.parametrize("line", ["", "w1", "w1 many", "w1 #fairseq:overwrite", "w1  "])
def test_what_is_no_line_of_a_dictionary_is_named(line: str, tmp_path: Path) -> None:
    (tmp_path / "dict.txt").write_text(f"w0 5\n{line}\nw2 3\n")
    with pytest.raises(UserError, match=r"dict.txt, line 2: expected 'type count'"):
        read_dictionary(tmp_path / "dict.txt")


def test_a_folder_or_a_pipe_is_no_dictionary(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, said in ((tmp_path, "is a folder"), (tmp_path / "pipe", "is a named pipe")):
        with pytest.raises(UserError, match=said):
            read_dictionary(path)
