"""Recordings of the released DINOISER: what is compared, what is refused."""

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core import official
from core.errors import UserError
from core.methods.dinoiser import visited
from core.methods.dinoiser_options import Decoding
from core.released import dinoiser as released
from core.released import reading, replay

GOLDEN = Path(__file__).parent / "golden" / "dinoiser_a.npz"


def test_the_recording_is_reproduced() -> None:
    report = replay.replay(GOLDEN)
    assert report["tokens_identical"] and report["largest"] < 1e-5 and len(report["differences"]) == 37


def test_small_recorded_numbers_are_held_to_their_own_size() -> None:
    differences, case = replay.replay(GOLDEN)["differences"], reading.read_recording(GOLDEN)[2]
    small = [name for name in differences if "nll" in name or name.startswith("grad2/") or name == "min_t"]
    assert len(small) == 7
    for name in small:
        assert differences[name] < 5e-5 * abs(case[name]).max(), name


def test_padding_that_was_written_is_left_off_as_recorded() -> None:
    """The row of padding in the table of types is exchanged with that of a type that was written."""
    options, weights, case = reading.read_recording(GOLDEN)
    theirs, rows = weights["vae.embedding.weight"], torch.arange(44)
    rows[[1, 38]] = rows[[38, 1]]
    weights["vae.embedding.weight"] = theirs[rows]
    for name in ("decode_cedi", "decode_cedi_predicted_length"):
        tokens, written = case[f"{name}_all_tokens"], case[f"{name}_all_scores"] != 0
        tokens[written] = rows.numpy()[tokens[written]]
        case[f"{name}_tokens_flat"] = tokens[tokens != 1]
        case[f"{name}_tokens_lengths"] = (tokens != 1).sum(1)
        assert bool((tokens[written] == 1).any())
    assert released.replay(options, weights, case)["tokens_identical"]


def test_fewer_tokens_than_ours_are_a_difference() -> None:
    options, weights, case = reading.read_recording(GOLDEN)
    case["decode_cedi_tokens_flat"] = case["decode_cedi_tokens_flat"][:-1]
    report = released.replay(options, weights, case)
    assert report["different"] == ["decode_cedi_tokens_flat"] and not report["tokens_identical"]


@pytest.mark.parametrize(
    "name,value,said",
    [
        ("length_predict_type", "absolute", "option length_predict_type: 'absolute'; .* with 'difference'"),
        ("normalized_embedding", False, "option normalized_embedding: False; .* with True"),
        ("scheduler", "linear", "option scheduler: 'linear'; .* with 'interchangable'"),
        ("eos", 1, "option eos: 1; .* with 2"),
        ("decodings", {"cedi": {"solver": "dpm"}}, "solver 'dpm'; .* with cedi, ddim, ddpm"),
    ],
)
def test_recordings_of_what_ours_has_not_are_refused_by_name(name: str, value: Any, said: str) -> None:
    options, weights, case = reading.read_recording(GOLDEN)
    with pytest.raises(UserError, match=said):
        released.replay(options | {name: value}, weights, case)


@pytest.mark.parametrize("steps", [0, 2_000_000, "4", 7], ids=str)
def test_other_steps_than_were_recorded_are_refused(steps: Any) -> None:
    options, weights, case = reading.read_recording(GOLDEN)
    given = options["decodings"]["cedi"] | {"steps": steps}
    with pytest.raises((UserError, ValueError), match=r"decoding_steps|cedi_timesteps: ours has shape \(8,\)"):
        released.replay(options | {"decodings": {"cedi": given}}, weights, case)


@pytest.mark.parametrize("name,value", [("decodings", 3), ("decodings", {"cedi": 3}), ("heads", 0)], ids=str)
def test_broken_options_get_one_clear_line(
    name: str, value: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with np.load(GOLDEN) as file:
        arrays = dict(file)
    options = json.loads(str(arrays.pop("options"))) | {name: value}
    np.savez(tmp_path / "case.npz", options=np.array(json.dumps(options)), **arrays)
    monkeypatch.setattr(sys, "argv", ["official", str(tmp_path / "case.npz")])
    with pytest.raises(SystemExit, match="2"):
        official.main()
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_released_ancestral_step_weighs_the_prediction_by_the_wrong_level() -> None:
    steps = visited(Decoding(sampler="ancestral", decoding_steps=6))
    step, x, h, z = released.ddpm(steps), *torch.randn(3, 2, 4, 3)
    for k in range(5, 0, -1):
        a, b, s = steps.signal[k], steps.signal[k - 1], steps.noise[k]
        q = (1 - b**2) / (1 - a**2) * (1 - (a / b) ** 2)
        wanted = a * h + math.sqrt(1 - b**2 - q) * (x - a * h) / s + math.sqrt(q) * z
        torch.testing.assert_close(step(k, x, h, lambda like: z), wanted.float(), rtol=1e-5, atol=1e-6)
