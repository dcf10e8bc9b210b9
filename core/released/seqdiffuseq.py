"""Recordings of SeqDiffuSeq, replayed by ours (Yuanhy1997/SeqDiffuSeq, 0d42870)."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.diffusion import end_to_end
from core.diffusion.end_to_end import Draws
from core.diffusion.process import Visited
from core.diffusion.samplers import Noise, Step, around_posterior, flattened, posterior, shifted
from core.diffusion.seqdiffuseq_network import PositionDenoiser
from core.diffusion.walks import Plan, Walker
from core.errors import UserError
from core.methods.seqdiffuseq import PositionLoss, SeqDiffuSeq
from core.methods.seqdiffuseq_options import Adapting, Counting, Options, Space, Walk
from core.model_folder import load_weights
from core.released.archives import Weights
from core.released.comparison import Arrays, Comparison
from core.released.reading import PARTS, joined
from core.released.recordings import (
    Part,
    check_epsilon,
    checked_options,
    encoder_decoder,
    kept_steps,
    own_state,
    tensor,
)
from core.sections import DecodingConfig
from core.text.batches import Batch
from core.text.tokenizer import BOS, EOS, PAD, UNK
from core.training.step import reduced


def replay(options: dict[str, Any], weights: Weights, case: Arrays) -> dict[str, Any]:
    """The report of a recording (see core/released/systems.py)."""
    method, found = SeqDiffuSeq(configuration(options)), Comparison()
    network = method.build(options["vocab_size"], options["max_positions"])
    load_weights(network, rename(weights) | own_state(network), "the recording")
    network.eval()
    check_epsilon(options, network)
    batch = replay_batch(options, case, found)
    for name, coin in (("plain", False), ("selfcond", True)):
        replay_training(method, network, batch, case, name, coin, found)
    before = network.process.alpha_bar[:, : network.window].numpy().copy()
    replay_updates(network, before, options, case, found)
    for name, given in options["decodings"].items():
        recorded, given = Part(case, f"decode_{name}_"), given | {"pairs": options["decode_pairs"]}
        replay_decoding(network, batch, before, given, recorded, f"decode_{name}", found)
    return found.report()


def configuration(options: dict[str, Any]) -> Options:
    """Our options for a recording's. Raises UserError on what the released code has and ours has not."""
    special = (options["bos"], options["pad"], options["eos"], options["unk"])
    if special != (BOS, PAD, EOS, UNK) or not options["predict_xstart"] or options["scale_embedding"]:
        raise UserError("of SeqDiffuSeq those recordings are replayed that predict x_0 from embeddings as they are")
    space = Space(
        latent_dim=options["embedding_dim"],
        target_length=options["sequence_len"],
        rescale_timesteps=options["rescale_timesteps"],
    )
    process = Adapting(
        diffusion_steps=options["diffusion_steps"],
        schedule=options["noise_schedule"],
        granularity=options["loss_update_granu"],
        stride=options["schedule_update_stride"],
    )
    steps = min(options["diffusion_steps"], Walk.decoding_steps)
    objective = Counting(count_padding=not options["loss_mask"])
    return checked_options(Options(encoder_decoder(options), space, process, objective, Walk(decoding_steps=steps)))


# Weights

PREFIXES = {
    "input_transformers.encoder.layernorm_embedding.": "source_norm.",
    "input_transformers.decoder.layernorm_embedding.": "target_norm.",
    "input_transformers.encoder.layers.": "encoder_layers.",
    "input_transformers.decoder.layers.": "decoder_layers.",
    "input_transformers.encoder.embed_positions.weight": "encoder_positions.table",
    "input_transformers.decoder.embed_positions.weight": "decoder_positions.table",
    "input_transformers.shared.weight": "embedding.table",
    "lm_head.bias": "embedding.bias",
    "input_up_proj_dec.": "up.",
    "input_up_proj_enc.": "source_up.",
    "output_down_proj.": "down.",
    "time_embed.": "time.",
    "LayerNorm.": "input_norm.",
}
COPIES = (
    "input_transformers.encoder.embed_tokens.weight",
    "input_transformers.decoder.embed_tokens.weight",
    "lm_head.weight",
)
"""The table of embeddings under other names."""


def rename(weights: Weights) -> Weights:
    """Recorded weights by our names: projections joined, the two unused rows of position tables left off."""
    kept = {name: value for name, value in joined(weights).items() if name not in COPIES}
    return {our_name(name): value[2:] if "embed_positions" in name else value for name, value in kept.items()}


def our_name(name: str) -> str:
    """Our name of a weight."""
    for theirs, ours in PREFIXES.items():
        if name.startswith(theirs):
            name = ours + name.removeprefix(theirs)
    for theirs, ours in PARTS.items():
        name = name.replace(theirs, ours)
    return name


# Training


def replay_batch(options: dict[str, Any], case: Arrays, found: Comparison) -> Batch:
    """The batch: both sides begun and ended, cut to their length, which may lose EOS, and filled up to it."""

    def rows(side: str, length: int) -> Tensor:
        made = torch.full((len(case[f"{side}_lengths"]), length), PAD)
        flat = tensor(case, f"{side}_flat").long()
        for row, ids in zip(made, flat.split(case[f"{side}_lengths"].tolist()), strict=True):
            whole = torch.tensor([BOS, *ids.tolist(), EOS])[:length]
            row[: len(whole)] = whole
        return made

    source, target = rows("src", options["sequence_len_src"]), rows("trg", options["sequence_len"])
    found.decision("input_ids", source, case["input_ids"])
    found.decision("attention_mask", source != PAD, case["attention_mask"])
    found.decision("decoder_input_ids", target, case["decoder_input_ids"])
    found.decision("decoder_attention_mask", torch.ones_like(target), case["decoder_attention_mask"])
    if "loss_mask" in case:
        found.decision("loss_mask", target != PAD, case["loss_mask"])
    return Batch.padded(source, target)


GRADIENTS = {
    "input_transformers.shared.weight": "embedding.table",
    "input_up_proj_dec.0.weight": "up.0.weight",
    "lm_head.bias": "embedding.bias",
}


def replay_training(
    method: SeqDiffuSeq, network: PositionDenoiser, batch: Batch, case: Arrays, name: str, coin: bool, found: Comparison
) -> None:
    """A step without or with self-conditioning: x_t, the output, the terms of each sentence, losses, gradients."""
    t, weight = tensor(case, "t").long(), tensor(case, "weights_t").float()
    draws = Draws(t, weight, tensor(case, "x_start_noise"), tensor(case, "noise"), None, None, coin)
    network.zero_grad()
    _, made = end_to_end.predict(network, batch, draws, 0.0)
    loss = method.loss(network, batch, draws)
    assert isinstance(loss, PositionLoss)
    even = method.loss(network, batch, replace(draws, weight=torch.ones_like(weight)))
    parts = {name: term.values for name, term in even.terms.items()}
    shared = {
        "encoder_out": network.encoded(batch.source),
        "model_timesteps": t * torch.tensor(network.time_scale),
        "x_start": made.x_0,
        "x_t": made.x_t,
        "term_decoder_nll": parts["token"],
        "term_tT": parts["tT"],
    }
    own = {
        "model_output": made.out,
        "term_mse": parts["mse"],
        "term_loss": parts["mse"] + parts["token"] + parts["tT"],
        "loss": reduced(loss),
        "loss_log": loss.errors * batch.target_mask,
    }
    for label, value in (shared | {f"{each}_{name}": value for each, value in own.items()}).items():
        found.number(label, value, case[label])
    own["loss"].backward()
    found.gradients(network, GRADIENTS, case, f"grad_{name}/")


def replay_updates(
    network: PositionDenoiser, before: np.ndarray, options: dict[str, Any], case: Arrays, found: Comparison
) -> None:
    """The recorded losses, taken one batch after the other until the schedule changes, and the tables after it."""
    process, window, rows = network.process, network.window, slice(None, None, options["table_row_stride"])
    for index, step in enumerate(case["update_steps"].tolist()):
        process.updates.fill_(step - 1)
        losses, real = tensor(case, "update_losses")[index], tensor(case, "update_masks")[index]
        if process.see(tensor(case, "update_t")[index].long(), losses, real):
            found.number("update_loss_history", process.losses[:, :window].clone(), case["update_loss_history"])
            found.number("update_loss_count", process.counts[:, :window].clone(), case["update_loss_count"])
            process.adapt()
    after = process.alpha_bar[:, :window].numpy()
    signal, noise = np.sqrt(after), np.sqrt(1.0 - after)
    first, second, sigma = posterior(signal, noise)
    with np.errstate(divide="ignore"):
        flat = np.log(sigma.flatten()[: len(after)] ** 2)
    sigma[0] = 0.0
    tables = {
        "alphas_cumprod_before": before,
        "alphas_cumprod_after": after,
        "posterior_mean_coef1_after": first,
        "posterior_mean_coef2_after": second,
        "posterior_variance_after": sigma**2,
        "betas_after": betas(before),  # the released code leaves them as they were
    }
    for name, table in tables.items():
        found.number(name, torch.from_numpy(table[rows].copy()), case[name])
    found.number("posterior_log_variance_flat_after", torch.from_numpy(flat), case["posterior_log_variance_flat_after"])
    found.number("update_history_reset", process.losses[:, :window], case["update_history_reset"])


def betas(alpha_bar: np.ndarray) -> np.ndarray:
    """1 - abar_t / abar_{t-1}."""
    return 1.0 - alpha_bar / shifted(alpha_bar, 1.0)


# Decoding


@torch.no_grad()
def replay_decoding(
    network: PositionDenoiser,
    batch: Batch,
    before: np.ndarray,
    given: dict[str, Any],
    case: Arrays,
    name: str,
    found: Comparison,
) -> None:
    """One decoding: each step's output and what it leads to, and the tokens at all positions."""
    T, pairs = len(before), given["pairs"]
    decoding = Walk(decoding_steps=kept_steps(given["timestep_respacing"], T))
    learned = network.process.alpha_bar[:, : network.window].numpy()
    visited = Visited.among(learned if given["load_schedule"] else before, DecodingConfig.of(decoding), 1.0)
    at = [int(t) for t in visited.t]
    steps = Recorded(visited, deviations(visited, before[at], given["sigma_small"]), given, case)
    layout = network.layout(batch.source[:pairs], None)
    walker = Walker(network, layout, network.read(batch.source[:pairs]))
    outputs: list[Tensor] = []
    plan, start = Plan(visited, steps.step), tensor(case, "initial_noise")
    x = walker.walk(plan, decoding, start, steps.noise, lambda *, t, z_t, z_0_hat: outputs.append(z_0_hat))
    logits = network.embedding.logits(x)
    told = torch.tensor(visited.told[::-1]) * torch.tensor(network.time_scale)
    found.decision(f"{name}_kept_steps", torch.tensor(at), case["kept_steps"])
    found.number(f"{name}_model_timesteps", told, case["model_timesteps"])
    found.number(f"{name}_alphas_cumprod", torch.from_numpy(visited.signal**2), case["alphas_cumprod"])
    found.number(f"{name}_model_output", torch.stack(outputs), case["model_output"])
    found.number(f"{name}_p_sample", torch.stack([*steps.sampled, x]), case["p_sample"])
    if steps.jumped:
        found.number(f"{name}_q_sample", torch.stack(steps.jumped), case["q_sample"])
    found.decision(f"{name}_tokens", logits.argmax(-1), case["tokens"])
    found.number(f"{name}_scores", logits.amax(-1), case["scores"])


def deviations(visited: Visited, before: np.ndarray, small: bool) -> np.ndarray:
    """The released sampler's standard deviation of each step, [K]: of the posterior (sigma_small), or of the betas that
    the schedule had before it adapted; both from tables that are flattened. before: those steps of it, [K, L]."""
    if small:
        return flattened(visited)
    variance = np.concatenate([posterior(visited.signal, visited.noise)[2][:1] ** 2, betas(before)[1:]])
    return np.sqrt(variance.flatten()[: len(variance)])


class Recorded:
    """The steps of a recorded decoding, by its draws: each z, then (by_mix) a uniform number, then the noise of q."""

    def __init__(self, visited: Visited, sigma: np.ndarray, given: dict[str, Any], case: Arrays) -> None:
        self.visited, self.given = visited, given
        self.inner: Step = around_posterior(visited, sigma)
        self.z: Iterator[Tensor] = iter(tensor(case, "step_noise"))
        drawn = given["generate_by_q"] or "q_noise" in case
        self.q_noise: Iterator[Tensor] = iter(tensor(case, "q_noise")) if drawn else iter(())
        self.uniforms = iter(case["uniforms"].tolist()) if given["generate_by_mix"] else iter(())
        self.sampled: list[Tensor] = []
        self.jumped: list[Tensor] = []

    def noise(self, like: Tensor) -> Tensor:
        """The next z."""
        return next(self.z)

    def step(self, k: int, x: Tensor, x_0: Tensor, noise: Noise) -> Tensor:
        """From x_k to x_{k-1}: the sampler's, or drawn anew around the prediction."""
        self.sampled.append(self.inner(k, x, x_0, noise))
        if not self.jumps(k):
            return self.sampled[-1]
        tables = self.visited.signal, self.visited.noise
        signal, level = (torch.from_numpy(table[k - 1, :, None]).float() for table in tables)
        self.jumped.append(signal * x_0 + level * next(self.q_noise))
        return self.jumped[-1]

    def jumps(self, k: int) -> bool:
        """Whether this step draws anew."""
        if self.given["generate_by_mix"]:
            late = k > (1.0 - self.given["mix_part"]) * len(self.visited.t)
            return next(self.uniforms) > 1.0 - self.given["mix_prob"] and late
        return bool(self.given["generate_by_q"])
