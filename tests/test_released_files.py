"""Checkpoints of the released code: what torch.save writes is read to the bit, and no file can do anything else."""

import json
import os
import subprocess
import sys
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from released_files import HOSTILE, OPTIONS, checkpoint, legacy, saved, tensor, text, weight, weights, zipped

from core.errors import UserError
from core.reading import Unreadable
from core.released import archives, reading

NUMBERS = np.array([1.5, -2.0], "<f4").tobytes()
TWO = tensor((2,), (1,), 0, 2)
FUZZ = Path(__file__).parent / "fuzz_checkpoints.py"
ENVIRONMENT = os.environ | {"PYTHONPATH": str(FUZZ.parents[1])}


@pytest.mark.parametrize("zipped_form", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_weights_and_options_are_read_to_the_bit(zipped_form: bool, protocol: int, tmp_path: Path) -> None:
    options, found = archives.read(saved(tmp_path / "any name.pt", zipped_form, protocol))
    assert options == OPTIONS
    assert found.keys() == weights().keys()
    for name, value in weights().items():
        assert found[name].dtype == torch.float32 and torch.equal(found[name], value.detach().float()), name


def test_a_zip_packed_again_is_read(tmp_path: Path) -> None:
    """By another program, with another folder in it, and packed."""
    with zipfile.ZipFile(saved(tmp_path / "x.pt", True)) as archive, zipfile.ZipFile(tmp_path / "y.pt", "w") as again:
        for entry in archive.infolist():
            name = "any folder/" + entry.filename.split("/", 1)[1]
            again.writestr(name, archive.read(entry), zipfile.ZIP_DEFLATED)
    assert torch.equal(archives.read(tmp_path / "y.pt")[1]["half"], weights()["half"].float())


def test_numbers_with_the_big_end_first_are_turned(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(zipped(weight(TWO), _0=np.array([1.5, -2.0], ">f4").tobytes()))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/byteorder", "big")
    assert archives.read(path)[1]["w"].tolist() == [1.5, -2.0]
    path.write_bytes(legacy(weight(TWO), ("0", 2, NUMBERS)))
    assert archives.read(path)[1]["w"].tolist() == [1.5, -2.0]


@pytest.mark.parametrize("name", HOSTILE)
def test_what_a_hostile_pickle_asks_for_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for form in (zipped(HOSTILE[name], _0=NUMBERS), legacy(HOSTILE[name], ("0", 2, NUMBERS)), HOSTILE[name]):
        (tmp_path / "hostile.pt").write_bytes(form)
        with pytest.raises(UserError, match=r"hostile\.pt: not a checkpoint of the released code") as error:
            reading.read_checkpoint(tmp_path / "hostile.pt")
        assert len(str(error.value)) < 600 and "\x1b" not in str(error.value)
    assert os.listdir(tmp_path) == ["hostile.pt"]


@pytest.mark.parametrize(
    "name", ["a tensor of much", "a tensor beyond its storage", "a tensor from beyond", "steps beyond"]
)
def test_a_tensor_that_does_not_lie_within_its_storage_is_told(name: str, tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(zipped(HOSTILE[name], _0=NUMBERS))
    with pytest.raises(Unreadable, match="a tensor that does not lie within its storage"):
        archives.read(tmp_path / "x.pt")


def test_a_pickle_that_asks_for_nothing_is_read(tmp_path: Path) -> None:
    """So that the others are refused for what they ask for."""
    for form in (zipped(weight(TWO), _0=NUMBERS), legacy(weight(TWO), ("0", 2, NUMBERS))):
        (tmp_path / "x.pt").write_bytes(form)
        assert archives.read(tmp_path / "x.pt")[1]["w"].tolist() == [1.5, -2.0]


def test_torchscript_is_never_loaded(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "code.pt"))
    with pytest.raises(UserError, match=r"code\.pt: .*TorchScript archive, which holds code"):
        reading.read_checkpoint(tmp_path / "code.pt")
    whole = zipped(weight(TWO), _0=NUMBERS)
    for name in ("archive/constants.pkl", "constants.pkl", "x/y/constants.pkl"):
        (tmp_path / "x.pt").write_bytes(whole)
        with zipfile.ZipFile(tmp_path / "x.pt", "a") as archive:
            archive.writestr(name, b"")
        with pytest.raises(Unreadable, match="TorchScript"):
            archives.read(tmp_path / "x.pt")


def entries(*given: tuple[str, bytes], how: int = zipfile.ZIP_STORED) -> Callable[[Path], None]:
    """Writes a zip with more entries beside a checkpoint's."""

    def write(path: Path) -> None:
        path.write_bytes(zipped(weight(TWO), _0=NUMBERS))
        with warnings.catch_warnings(), zipfile.ZipFile(path, "a", how) as archive:
            warnings.simplefilter("ignore")
            for name, content in given:
                archive.writestr(name, content)

    return write


def shared_bytes(path: Path) -> None:
    """A zip whose directory says that one entry's content is another one's too."""
    path.write_bytes(zipped(weight(TWO), _0=NUMBERS))
    with zipfile.ZipFile(path, "a") as archive:
        twin = zipfile.ZipInfo("archive/data/0")
        entry = archive.getinfo("archive/data/0")
        for name in ("header_offset", "CRC", "compress_size", "file_size"):
            setattr(twin, name, getattr(entry, name))
        twin.filename = "archive/data/1"
        archive.filelist.append(twin)
        archive._didModify = True  # type: ignore[attr-defined]


def tar(path: Path) -> None:
    """The form before the legacy one."""
    with tarfile.open(path, "w") as archive:
        archive.add(FUZZ, "pickle")


FORMS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a zip of two checkpoints": (entries(("b/data.pkl", weight(TWO))), "or with several"),
    "an entry twice": (entries(("archive/data/0", NUMBERS)), "two of one name"),
    "entries in the same bytes": (shared_bytes, "share bytes"),
    "a bomb": (entries(("archive/data/1", bytes(70 << 20)), how=zipfile.ZIP_DEFLATED), "unpacks to"),
    "another packing": (entries(("archive/data/1", bytes(70)), how=zipfile.ZIP_LZMA), "does not know"),
    "an odd byte order": (entries(("archive/byteorder", b"middle")), "byte order"),
    "no numbers": (lambda path: path.write_bytes(zipped(weight(TWO))), "'0' are missing"),
    "too few numbers": (lambda path: path.write_bytes(zipped(weight(TWO), _0=b"1234")), "more or fewer"),
    "a folder of folders": (lambda path: path.write_bytes(zipped(weight(TWO), root="a/b")), "without data.pkl"),
    "numbers cut": (lambda path: path.write_bytes(legacy(weight(TWO), ("0", 2, b"1234"))), "ends before its numbers"),
    "unknown numbers": (lambda path: path.write_bytes(legacy(weight(TWO), ("1", 2, NUMBERS))), "does not know"),
    "other numbers": (lambda path: path.write_bytes(legacy(weight(TWO), ("0", 3, NUMBERS))), "more or fewer"),
    "numbers left out": (lambda path: path.write_bytes(legacy(weight(TWO))), "damaged"),
    "an older form": (tar, "neither a zip nor the legacy form"),
    "a folder": (lambda path: path.mkdir(), "no regular file"),
    "a pipe": (lambda path: os.mkfifo(path), "no regular file"),
    "nothing": (lambda path: path.touch(), "neither a zip nor the legacy form"),
    "text": (lambda path: path.write_text("w0 1"), "neither a zip nor the legacy form"),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_file_of_another_form_is_told(name: str, tmp_path: Path) -> None:
    make, said = FORMS[name]
    make(tmp_path / "x.pt")
    with pytest.raises(UserError, match=rf"x\.pt: not a checkpoint of the released code .*({said})"):
        reading.read_checkpoint(tmp_path / "x.pt")


def test_a_small_file_never_becomes_large_tensors(tmp_path: Path) -> None:
    """Bytes that pack well, each of which would be a number of four bytes, in tensors that share them."""
    count = 30 << 20
    views = b"}(" + text("w") + tensor((count,), (1,), 0, count, "ByteStorage") + b"q\x01" + text("v") + b"h\x01"
    many = b"".join(text(f"w{i}") + b"h\x01" for i in range(2))
    (tmp_path / "x.pt").write_bytes(zipped(checkpoint(views + many + b"u"), how=zipfile.ZIP_DEFLATED, _0=bytes(count)))
    with pytest.raises(Unreadable, match="far more elements"):
        archives.read(tmp_path / "x.pt")


@pytest.mark.parametrize("zipped_form", [True, False], ids=["zip", "legacy"])
def test_a_damaged_checkpoint_never_crashes(zipped_form: bool, tmp_path: Path) -> None:
    """Cut at 100 places, and with a bit flipped at 100: read, or one error."""
    path = saved(tmp_path / "x.pt", zipped_form)
    whole = path.read_bytes()
    for place in range(0, len(whole), len(whole) // 100):
        for damaged in (whole[:place], whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :]):
            path.write_bytes(damaged)
            try:
                archives.read(path)
            except Unreadable as error:
                assert str(error)


@pytest.mark.slow
def test_ten_thousand_mutated_checkpoints_do_nothing(tmp_path: Path) -> None:
    """Each is read or refused within seconds and a GiB; no file is written, no process started, nothing looked up."""
    done = subprocess.run([sys.executable, FUZZ, tmp_path, "10000"], capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["read"] + found["refused"] == 10_000 and min(found.values()) > 300
    assert sorted(os.listdir(tmp_path)) == ["mutated.pt", "whole.pt"]


def test_the_options_of_a_checkpoint_are_checked_before_anything_is_built(tmp_path: Path) -> None:
    options, found, _ = reading.read_recording(Path(__file__).parent / "golden" / "released_recipe.npz")
    wrong = {"encoder_layers": 10**9, "decoder_layers": 10**6, "model_dim": 10**9, "encoder_ffn_embed_dim": 10**9}
    for name, value in {**wrong, "latent_dim": 10**9, "diffusion_steps": 10**12}.items():
        with pytest.raises(
            UserError, match=name.replace("encoder_ffn_embed", "ffn") + f":? {value:,}".replace(",", ",?")
        ):
            reading.build_model(reading.configuration(options | {name: value}, found), found)
    for bad in ({"rescaling_factor": "x"}, {"model_dim": [1]}, {"dropout": {"a": 1}}, {"rescaling_factor": None}):
        with pytest.raises(UserError, match="option"):
            reading.configuration(options | bad, found)
    with pytest.raises(UserError, match="lack 'latent_dim'"):
        reading.configuration({name: value for name, value in options.items() if name != "latent_dim"}, found)
    tied = {"encoder.embed_tokens.weight", "decoder.output_projection.weight"}
    for name in found.keys() - tied:
        with pytest.raises(UserError):
            reading.build_model(reading.configuration(options, found), found | {name: torch.tensor(0.5)})
