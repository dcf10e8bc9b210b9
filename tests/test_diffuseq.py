"""DiffuSeq and Diffusion-LM as methods: the released code's numbers, exact resume, learning, probes, saved models."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_training import CPU, Stop, assert_same_end

from ablations import presets
from ablations.evaluate import probe
from ablations.execute import make_decodable, single_arm
from core import model_folder
from core.checks import check
from core.config import RunConfig, with_values
from core.diffusion.process import ForwardProcess
from core.diffusion.schedules import alpha_bars
from core.distributed import Ranks
from core.errors import UserError
from core.evaluator import Evaluator, new_network
from core.methods import method_for
from core.released import diffuseq, replay
from core.run_folder import STATE, TOKENIZER
from core.sections import DiffusionConfig
from core.text.batches import BatchStream
from core.text.materials import prepare
from core.training import train
from core.training.job import Job, Outcome
from core.training.loop import Loop

RECORDING = Path(__file__).parent / "golden" / "diffuseq_a.npz"
BOTH = ["diffuseq", "diffusion_lm"]


# The released code's numbers


def test_the_recording_is_reproduced() -> None:
    report = replay.replay(RECORDING)
    assert report["tokens_identical"] and report["largest"] < 1e-5
    names = report["differences"].keys()
    assert {"loss", "term_tT", "grad/word_embedding.weight", "decode_ancestral_sample", "decode_ddim_sample"} <= names
    assert report["differences"]["term_tT"] < 1e-9, "it is below 3e-5 itself"


def changed(path: Path, options: dict[str, Any], **arrays: np.ndarray) -> Path:
    """The recording with other options and arrays."""
    with np.load(RECORDING) as file:
        case = dict(file) | arrays
    case["options"] = np.array(json.dumps(json.loads(str(case["options"])) | options))
    np.savez(path, **case)
    return path


def test_a_wrong_weight_is_noticed(tmp_path: Path) -> None:
    name = "weight/input_transformers.layer.1.attention.self.value.bias"
    with np.load(RECORDING) as file:
        wrong = file[name] + 0.01
    report = replay.replay(changed(tmp_path / "case.npz", {}, **{name: wrong}))
    assert report["largest"] > 1e-4


def test_right_ddim_is_not_what_was_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The slip is in the recording: with the levels of the steps that are taken numbers and tokens differ."""
    made = diffuseq.decoding_of

    def right(*given: Any) -> Any:
        chosen = made(*given)
        ddim = chosen.decoding.sampler == "ddim"
        return with_values(RunConfig(method=chosen), {"released_ddim": False}).method if ddim else chosen

    monkeypatch.setattr(diffuseq, "decoding_of", right)
    with np.load(RECORDING) as file:
        kept = np.array([round(k * 1999 / 9) for k in range(10)], dtype=np.int32)
        times = file["decode_ddim_model_timesteps"]
    path = changed(tmp_path / "case.npz", {}, decode_ddim_kept_steps=kept, decode_ddim_model_timesteps=times)
    report = replay.replay(path)
    assert report["differences"]["decode_ddim_sample"] > 0.1
    assert report["differences"]["decode_ancestral_sample"] < 1e-5


def test_each_array_of_a_decoding_is_compared(tmp_path: Path) -> None:
    with np.load(RECORDING) as file:
        outs = [name for name in file if name.startswith("decode_") and "noise" not in name]
        kept = file["decode_ddim_kept_steps"] + 1
    report = replay.replay(changed(tmp_path / "case.npz", {}, decode_ddim_kept_steps=kept))
    assert report["different"] == ["decode_ddim_kept_steps"]
    assert {*report["differences"], *report["identical"], *report["different"]} >= set(outs)


def test_any_gap_of_ddim_is_taken_as_it_is(tmp_path: Path) -> None:
    """Also one that is no T // K."""
    with np.load(RECORDING) as file:
        ddim = json.loads(str(file["options"]))["ddim"] | {"gap": 300}
        arrays = {name: file[name][:7] for name in file if name.startswith("decode_ddim") and len(file[name]) == 10}
    arrays["decode_ddim_model_timesteps"] = np.arange(1999, 0, -300, dtype=np.float32) / 2
    report = replay.replay(changed(tmp_path / "case.npz", {"ddim": ddim}, **arrays))
    assert report["differences"]["decode_ddim_model_timesteps"] == 0


def test_sentences_of_no_weight_have_terms(tmp_path: Path) -> None:
    with np.load(RECORDING) as file:
        weight = file["weights_t"] * 0
    report = replay.replay(changed(tmp_path / "case.npz", {}, weights_t=weight))
    assert report["differences"]["term_mse"] < 1e-5 and report["differences"]["loss"] > 0.9


def test_the_first_noise_of_cosine_is_exact() -> None:
    """1 - abar_0 is 4e-5: from a float32 sqrt(abar_0) it is off by 1e-3."""
    process = ForwardProcess.build(DiffusionConfig(diffusion_steps=1000, schedule="cosine", noise_factor=1.0))
    assert process.start_std == pytest.approx(np.sqrt(1 - alpha_bars("cosine", 1000)[0]), rel=1e-9)


ANCESTRAL = {"timestep_respacing": "1", "top_p": -1, "clamp_step": 0, "clamp_first": True, "gap": 1}
RESPACED = {"timestep_respacing": "5", "top_p": -1, "clamp_step": 0, "clamp_first": True, "gap": 5, "eta": 0.0}
OTHERS = [{"predict_xstart": False}, {"sep": 3}, {"ddim": RESPACED}, {"ancestral": ANCESTRAL}, {"layer_norm_eps": 1e-5}]


@pytest.mark.parametrize("options", OTHERS)
def test_what_is_not_replayed_is_said(options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not replayed"):
        replay.replay(changed(tmp_path / "case.npz", options))


# Training


def config(name: str, **values: Any) -> RunConfig:
    return with_values(presets.get("smoke").config_for(name), {"checkpoint_seconds": 0.0, **values})


def job(chosen: RunConfig, folder: Path, log: Any = lambda row: None) -> Job:
    folder.mkdir(exist_ok=True)
    stream = BatchStream(prepare(chosen.data).train, chosen.training.batch_tokens, chosen.seed)
    return Job(chosen, method_for(chosen.method), folder, stream, score, log)


def score(network: Any) -> dict[str, float]:
    return {"val/bleu": float(network.embedding.table.detach().double().sin().sum())}


def fresh(chosen: RunConfig) -> Any:
    return new_network(chosen, method_for(chosen.method), prepare(chosen.data), CPU)


FEW = {"diffusion_steps": 4, "decoding_steps": 4}  # so that each t has its losses soon
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "diffuseq": ("diffuseq", FEW),
    "diffuseq-v2": ("diffuseq", FEW | {"absorbing": True, "sequence_length": 32, "ema": 0.9}),
    "diffusion_lm": ("diffusion_lm", {"lr_schedule": "linear"}),
}


@pytest.mark.parametrize("name", CASES)
def test_stopped_and_resumed_ends_with_the_same_weights(name: str, tmp_path: Path) -> None:
    method, values = CASES[name]
    chosen = config(method, log_every=1, **values)
    check(chosen)
    whole = fresh(chosen)
    train(whole, job(chosen, tmp_path / "whole"))

    def stopping(row: dict[str, Any]) -> None:
        if row["train/step"] == 8 and "train/loss" in row:
            raise Stop

    with pytest.raises(Stop):
        train(fresh(chosen), job(chosen, tmp_path / "half", stopping))
    resumed = fresh(chosen)
    train(resumed, job(chosen, tmp_path / "half"))
    assert_same_end(tmp_path / "whole", tmp_path / "half")
    if method == "diffuseq":
        assert int(whole.moments.seen.min()) >= 10, "t is drawn by the loss by then"
        assert torch.equal(whole.moments.losses, resumed.moments.losses) and whole.window == resumed.window


class Two(Ranks):
    """The first of two processes, without the other one."""

    def check_same(self, step: int) -> None:
        pass


def test_a_single_run_is_named_by_its_method() -> None:
    assert single_arm(config("diffuseq")).name == "diffuseq+rounding+nonorm+F1"
    assert single_arm(config("autoregressive")).name == "autoregressive"
    assert single_arm(presets.get("smoke").config).name == "anchor+norm+F4"


def test_several_processes_need_times_that_are_not_drawn_by_the_loss(tmp_path: Path) -> None:
    chosen = config("diffuseq")
    with pytest.raises(UserError, match="method diffuseq adapts as it trains"):
        Loop(fresh(chosen), with_ranks(job(chosen, tmp_path), Two(0, 2)))
    uniform = config("diffuseq", time_sampler="uniform")
    Loop(fresh(uniform), with_ranks(job(uniform, tmp_path), Two(0, 2)))


def with_ranks(one: Job, ranks: Any) -> Job:
    return dataclasses.replace(one, ranks=ranks)


@pytest.mark.parametrize("name", BOTH)
def test_it_learns(name: str, tmp_path: Path) -> None:
    chosen = config(name, updates=50, lr=4e-3, warmup=10, log_every=1, valid_every=50)
    rows: list[dict[str, Any]] = []
    train(fresh(chosen), job(chosen, tmp_path, rows.append))
    losses = [row["train/nll"] for row in rows if "train/nll" in row]
    assert sum(losses[-10:]) < 0.85 * sum(losses[:10])


@pytest.mark.parametrize("name", BOTH)
def test_a_trained_model_is_probed_saved_and_used(name: str, tmp_path: Path) -> None:
    chosen = config(name, updates=4, valid_every=4, diffusion_steps=40)
    text = prepare(chosen.data)
    network = fresh(chosen)
    train(network, job(chosen, tmp_path))
    make_decodable(network, Outcome(4, 9, 1.0, 1, diverged=False))
    evaluator = Evaluator(text, chosen, CPU)
    arrays = probe(evaluator, network)
    assert {"t", "nll", "accuracy", "mse", "nearest", "norm", "along_t", "along_bleu"} <= arrays.keys()
    assert len(arrays["t"]) == len(arrays["accuracy"]) and arrays["along_t"].tolist()[-1] == 0
    scores = evaluator.validate(network)
    assert {"val/mse", "val/nll", "val/bleu"} <= scores.keys()
    text.tokenizer.save(tmp_path / TOKENIZER)
    model = model_folder.load(tmp_path, CPU)
    assert model.network.window == network.window < chosen.data.max_length
    lines = [pair[0] for pair in text.test.pairs[:5]]
    assert model.texts is not None and len(model.translate(lines)) == 5
    assert (tmp_path / STATE).exists()


def test_weights_that_are_no_numbers_become_decodable(tmp_path: Path) -> None:
    chosen = config("diffuseq", lr=float("inf"), warmup=1, log_every=1)
    network = fresh(chosen)
    outcome = train(network, job(chosen, tmp_path))
    assert outcome.diverged
    make_decodable(network, outcome)
    text = prepare(chosen.data)
    batch = text.test.encoded.batch([0, 1])
    method = method_for(chosen.method)
    with torch.no_grad():
        assert len(method.decode(network, batch, method.validation, 1).ids()) == 2
