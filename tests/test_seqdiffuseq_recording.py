"""Recordings of the released SeqDiffuSeq: what is compared, what is refused."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from core.diffusion.process import Visited
from core.diffusion.samplers import posterior
from core.diffusion.schedules import alpha_bars
from core.errors import UserError
from core.released import replay
from core.released import seqdiffuseq as released
from core.sections import DecodingConfig

GOLDEN = Path(__file__).parent / "golden" / "seqdiffuseq_a.npz"


def test_the_recording_is_reproduced() -> None:
    report = replay.replay(GOLDEN)
    assert report["tokens_identical"] and report["largest"] < 1e-5 and len(report["differences"]) == 37


def test_each_array_that_is_no_input_is_compared() -> None:
    inputs = ("weight", "src_", "trg_", "update_t", "update_losses", "update_masks", "update_steps", "x_start_noise")
    report = replay.replay(GOLDEN)
    with np.load(GOLDEN) as file:
        outs = {name for name in file if not name.startswith(inputs) and not name.endswith(("noise", "options"))}
    assert {*report["differences"], *report["identical"]} == outs - {"t"}


def recorded(path: Path, options: dict[str, Any], without: str = "", **arrays: np.ndarray) -> Path:
    """The recording with other options and arrays, or without one."""
    with np.load(GOLDEN) as file:
        case = dict(file) | arrays
    case["options"] = np.array(json.dumps(json.loads(str(case["options"])) | options))
    np.savez(path, **{name: array for name, array in case.items() if name != without})
    return path


def test_an_array_that_lacks_is_named_as_the_file_has_it(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="decode_normal_p_sample"):
        replay.replay(recorded(tmp_path / "case.npz", {}, "decode_normal_p_sample"))


def test_sentences_of_no_weight_have_terms(tmp_path: Path) -> None:
    report = replay.replay(recorded(tmp_path / "case.npz", {}, weights_t=np.array([0, 1, 1, 1], np.float32)))
    assert report["differences"]["term_mse_plain"] < 1e-5 and report["differences"]["loss_plain"] > 1e-3


def test_another_epsilon_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="layer_norm_eps 1e-12"):
        replay.replay(recorded(tmp_path / "case.npz", {"layer_norm_eps": 1e-12}))


def by_hand(visited: Visited, k: int, x: Tensor, x_0: Tensor, z: Tensor, variance: float) -> Tensor:
    """A step of the released sampler at one position, in the released code's coefficients."""
    abar, before = visited.signal[k, 0] ** 2, visited.signal[k - 1, 0] ** 2
    beta = 1 - abar / before
    c1 = beta * math.sqrt(before) / (1 - abar)
    c2 = (1 - before) * math.sqrt(1 - beta) / (1 - abar)
    return c1 * x_0 + c2 * x + math.sqrt(variance) * z


@pytest.mark.parametrize("mode", ["normal", "by_q", "by_mix"])
def test_recorded_decodings_may_draw_anew_around_the_prediction(mode: str) -> None:
    abar = np.repeat(alpha_bars("sqrt", 100)[:, None], 3, 1)
    visited = Visited.among(abar, DecodingConfig(decoding_steps=6), 1.0)
    given = {"generate_by_q": mode == "by_q", "generate_by_mix": mode == "by_mix", "mix_prob": 0.5, "mix_part": 0.5}
    z, q_noise = torch.randn(6, 2, 3, 4), torch.randn(5, 2, 3, 4)
    case = {"step_noise": z.numpy(), "q_noise": q_noise.numpy(), "uniforms": np.array([0.9, 0.1, 0.6, 0.7, 0.8])}
    steps = released.Recorded(
        visited, released.deviations(visited, abar[list(map(int, visited.t))], False), given, case
    )
    jumps = {"normal": [], "by_q": [5, 4, 3, 2, 1], "by_mix": [5]}[mode]  # by_mix: u > 0.5, and k > 3
    variance = [posterior(visited.signal, visited.noise)[2][1, 0] ** 2] * 3
    betas = released.betas(visited.signal[:, 0] ** 2)
    drawn = 0
    for k in range(5, 0, -1):
        x, x_0 = torch.randn(2, 2, 3, 4)
        found = steps.step(k, x, x_0, steps.noise)
        usual = by_hand(visited, k, x, x_0, z[5 - k], [*variance, *[betas[1]] * 3][k])
        torch.testing.assert_close(steps.sampled[-1], usual, rtol=1e-4, atol=1e-5)
        if k in jumps:
            signal, noise = float(visited.signal[k - 1, 0]), float(visited.noise[k - 1, 0])
            torch.testing.assert_close(found, signal * x_0 + noise * q_noise[drawn])
            drawn += 1
        else:
            assert found is steps.sampled[-1]
    assert drawn == len(steps.jumped) == len(jumps)
