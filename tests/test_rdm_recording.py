"""A recording of multinomial noise, made here in the form of the released code's: all its arrays are replayed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_rdm import Kept
from torch import Tensor

from core.discrete.decoding import gumbel, lengths_around, predictor, special
from core.discrete.routing import Router, Written
from core.discrete.weighted import weighted
from core.errors import UserError
from core.methods.rdm import RDM, Draws
from core.released import rdm as released
from core.released import reading, replay
from core.released.cmlm import network_of, recorded_batch
from core.text.tokenizer import PAD
from core.training.step import reduced

RECORDED = Path(__file__).parent / "golden" / "rdm_absorbing_a.npz"
V = 44
CHANGED: dict[str, Any] = {
    "diffusion_type": "reparam-multinomial",
    "not_diffusing_special_sym": True,
    "decodings": {
        "decode": {"strategy": "reparam-cond-deterministic-cosine", "steps": 10, "beam": 5, "argmax": True},
        "decode2": {"strategy": "reparam-uncond-stochastic1.0-cosine", "steps": 4, "beam": 1, "argmax": True},
    },
}


class Wide(Kept):
    """Chance over the types of the recording."""

    def types(self, what: str, log_p: Any, places: Tensor) -> Tensor:
        drawn = torch.rand((*places.shape, V), generator=self.source)
        self.given.setdefault(what, []).append(drawn)
        return (log_p(places) + gumbel(drawn[places], 1e-10)).argmax(-1)


def training(method: RDM, network: Any, case: dict[str, np.ndarray]) -> dict[str, Any]:
    """The arrays of a training step."""
    batch, drawn = recorded_batch(case), torch.Generator().manual_seed(1)
    B, L = batch.target.shape
    t = torch.from_numpy(np.stack([case["t_draw_1"], case["t_draw_2"]], 1)).long()
    u = torch.rand(B, L, 2, V, generator=drawn)
    draws = Draws(t.sort(1, descending=True).values, u, torch.full((B,), L))
    seen, loss = method.see(network, batch, draws), method.loss(network, batch, draws)
    reduced(loss).backward()
    process = network.process
    rows = {
        "x_t": seen.noised.tokens.flatten(0, 1),
        "x_0": seen.batch.target,
        "corrupted": seen.noised.places.flatten(0, 1),
        "decoder_input": network.decoder_input(seen.noised.tokens.flatten(0, 1), seen.t),
        "decoder_features": seen.states,
        "logits": network.embedding.logits(seen.states),
    }
    both = {name: np.concatenate([v.detach().numpy()[::2], v.detach().numpy()[1::2]]) for name, v in rows.items()}
    per_sentence = weighted(seen, method.options.objective, 50)[0].sum(1).detach() / L
    return both | {
        "q_uniform_1": u[:, :, 0].numpy(),
        "q_uniform_2": u[:, :, 1].numpy(),
        "t": np.concatenate([seen.t[::2], seen.t[1::2]]),
        "non_special": (~special(seen.batch.target)).numpy()[::2],
        "vocab_log_prob": process.log_q.numpy(),
        "log_alpha": process.log_alpha.numpy(),
        "log_cumprod_alpha": process.log_abar.numpy(),
        "log_1_min_cumprod_alpha": process.log_1_min_abar.numpy(),
        "loss_per_sentence": np.concatenate([per_sentence[::2], per_sentence[1::2]]),
        "nll_diffusion": 50 * per_sentence.mean().numpy(),
        "loss_diffusion": loss.terms["token"].mean().detach().numpy(),
        "loss_length": loss.terms["length"].mean().detach().numpy(),
        "loss_total": reduced(loss).detach().numpy(),
        "grad/decoder.time_pos_emb.output_mlp.weight": network.time.weight.grad.numpy(),
    }


@torch.no_grad()
def decoded(method: RDM, network: Any, case: dict[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    """The arrays of a decoding."""
    config = released.decoding(CHANGED["decodings"][name], method.options)
    batch, chance, steps = recorded_batch(case), Wide(), list[Written]()
    memory = network.encode(batch.source, batch.source_mask)
    lengths = lengths_around(network, memory, config.length_candidates, 3)
    reader = method.reader(network, config, chance)
    router = Router(network.process, predictor(network, memory, lengths), reader, config, chance)
    tokens, log_p = router.write(lengths, steps.append)
    written = method.written(tokens, lengths, log_p, config)
    best = written.score.view(len(batch.source), -1).argmax(1)
    rows = torch.arange(len(best)) * config.length_candidates + best
    longest = int((tokens[rows] != PAD).sum(1).max())
    made = {
        "length_pred": lengths_around(network, memory, 1, 3),
        "lengths": lengths,
        "t": torch.tensor([step.t for step in steps]),
        "init_tokens": steps[0].before,
        "step_tokens": torch.stack([step.tokens for step in steps]),
        "step_scores": torch.stack([step.log_p for step in steps]),
        "step_not_denoised": torch.stack([step.noise for step in steps]),
        "step_predicted": torch.stack([step.found for step in steps]),
        "step_predicted_logprob": torch.stack([step.sure for step in steps]),
        "first_logits": network.embedding.logits(steps[0].states[:2]),
        "init_gumbel_uniform": chance.given["start"][0],
        "init_order_uniform": chance.given["start_order"][0],
        "hypo_scores": written.score,
        "best": best,
        "tokens": tokens[rows, :longest],
        "scores": log_p[rows, :longest],
        "score": written.score[rows],
    }
    if name == "decode":
        made["step_noise_tokens"] = made["step_tokens"]  # where tokens became noise, they are the noise
    else:
        made["step_noise_uniform"] = torch.stack(chance.given["noise"])
        made["step_topk_uniform"] = torch.stack(chance.given["topk"])
    return {f"{name}_{key}": value.numpy() for key, value in made.items()}


def recording() -> dict[str, Any]:
    """The recorded weights and sentences with multinomial noise."""
    options, weights, case = reading.read_recording(RECORDED)
    options |= CHANGED
    method = RDM(released.configuration(options))
    network = network_of(method, options, weights)
    kept = (
        "src",
        "src_lengths",
        "tgt",
        "t_draw_1",
        "t_draw_2",
        "weight_t",
        "encoder_out",
        "length_logits",
        "length_target",
    )
    made = {name: case[name] for name in kept} | training(method, network, case)
    for name in CHANGED["decodings"]:
        made |= decoded(method, network, case, name)
    return made | {f"weight/{k}": v.numpy() for k, v in weights.items()} | {"options": np.array(json.dumps(options))}


def test_all_arrays_are_replayed(tmp_path: Path) -> None:
    np.savez(tmp_path / "case.npz", **recording())
    report = replay.replay(tmp_path / "case.npz")
    assert report["tokens_identical"] and report["largest"] < 1e-6


@pytest.mark.parametrize("name", ["x_t", "decode_init_tokens", "decode2_step_tokens", "log_cumprod_alpha"])
def test_what_differs_is_noticed(name: str, tmp_path: Path) -> None:
    case = recording()
    case[name] = (
        np.where(case[name] > 5, case[name] - 1, case[name]) if name != "log_cumprod_alpha" else case[name] * 1.1
    )
    np.savez(tmp_path / "case.npz", **case)
    report = replay.replay(tmp_path / "case.npz")
    assert not report["tokens_identical"] or report["largest"] > 1e-3


def drawn_noise(case: dict[str, Any], name: str) -> np.ndarray:
    """The types that the recorded numbers draw at each step, given the tokens before it."""
    abar, q = case["log_cumprod_alpha"], case["vocab_log_prob"]
    before = np.concatenate([case[f"{name}_init_tokens"][None], case[f"{name}_step_tokens"][:-1]])
    t = case[f"{name}_t"]
    earlier = np.array([*abar[t[1:]], 0.0])
    r = (abar[t] - earlier)[:, None, None, None]
    one = np.where(before[..., None] == np.arange(V), 0.0, np.log(1e-30))
    logits = np.logaddexp(one + r, q + np.log(1 - np.exp(r) + 1e-6))
    found: np.ndarray = (logits - np.log(-np.log(case[f"{name}_step_noise_uniform"] + 1e-10) + 1e-10)).argmax(-1)
    return found


def test_noise_that_nothing_uses_is_compared(tmp_path: Path) -> None:
    case = recording()
    case["decode2_step_noise_tokens"] = drawn_noise(case, "decode2")
    np.savez(tmp_path / "case.npz", **case)
    report = replay.replay(tmp_path / "case.npz")
    assert report["tokens_identical"] and "decode2_step_noise_tokens" in report["identical"]
    case["decode2_step_noise_tokens"][-1, 0, 1] += 1  # the last step leaves no noise
    np.savez(tmp_path / "case.npz", **case)
    assert replay.replay(tmp_path / "case.npz")["different"] == ["decode2_step_noise_tokens"]


def test_numbers_in_double_precision_are_read_in_single(tmp_path: Path) -> None:
    case = recording()
    doubled = {
        name: array.astype(float) for name, array in case.items() if name.startswith("decode2") and "uniform" in name
    }
    np.savez(tmp_path / "case.npz", **case | doubled)
    assert replay.replay(tmp_path / "case.npz")["tokens_identical"]


@pytest.mark.parametrize(
    "missing", ["decode_init_gumbel_uniform", "decode_step_noise_tokens", "decode2_step_topk_uniform"]
)
def test_a_missing_array_is_named(missing: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "case.npz", **{name: array for name, array in recording().items() if name != missing})
    with pytest.raises(KeyError, match=missing):
        replay.replay(tmp_path / "case.npz")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"not_diffusing_special_sym": False}, "noise changes BOS, EOS and PAD"),
        ({"decodings": {"decode": CHANGED["decodings"]["decode"] | {"argmax": False}}}, "draws its words"),
        ({"decodings": {"decode": CHANGED["decodings"]["decode"] | {"strategy": "default"}}}, "vanilla decoding"),
    ],
)
def test_what_is_not_recorded_is_refused(changed: dict[str, Any], said: str, tmp_path: Path) -> None:
    case = recording()
    options = json.loads(str(case["options"])) | changed
    np.savez(tmp_path / "case.npz", **case | {"options": np.array(json.dumps(options))})
    with pytest.raises(UserError, match=said):
        replay.replay(tmp_path / "case.npz")
