"""A recorded case of the released implementation, replayed; its checkpoints read, checked and converted."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core import model_folder
from core.config import RunConfig
from core.diffusion.decoding import denoiser, length_mask, read_out
from core.diffusion.denoiser import Denoiser
from core.diffusion.draws import Draws
from core.diffusion.objectives import predict, terms
from core.diffusion.process import ForwardProcess, Visited
from core.diffusion.samplers import SAMPLERS, sample
from core.errors import UserError
from core.methods.difformer_options import Options
from core.released import reading, systems
from core.released.comparison import Arrays, difference, largest
from core.released.dictionary import read_dictionary
from core.run_folder import TOKENIZER
from core.text.batches import Batch
from core.text.tokenizer import PAD, Subwords, Tokenizer


@torch.no_grad()
def replay_training(model: Denoiser, options: Options, case: Arrays) -> dict[str, float]:
    """Largest difference of each quantity of the recorded training step."""
    batch = Batch.padded(torch.from_numpy(case["src"]), torch.from_numpy(case["tgt"]))
    process = ForwardProcess.build(options.diffusion, released_slip=True)
    draws = Draws(torch.from_numpy(case["t"]), torch.from_numpy(case["noise"]), coin=True)
    made = predict(model, batch, draws, process)
    first = predict(model, batch, Draws(draws.t, draws.eps, coin=False), process).z_0_hat
    parts = terms(model, made, batch, options.objective)
    memory = model.encode(batch.source, batch.source_mask)
    encoder_out = torch.from_numpy(case["encoder_out"]).transpose(0, 1).numpy()
    z = made.z_0 if options.objective.token_loss == "rounding" else made.z_0_hat
    length_target = model.length_target(batch.source_mask.sum(1), batch.target_mask.sum(1))
    mask = batch.target_mask
    return {
        "encoder_out": difference(memory.encoded, encoder_out, batch.source_mask),
        "length_logits": difference(memory.length_logits, case["length_logits"]),
        "length_target": difference(length_target, case["length_target"]),
        "z_0": difference(made.z_0, case["z_0"], mask),
        "z_t": difference(made.z_t, case["z_t"], mask),
        "z_0_hat_first": difference(first, case["z_0_hat_first"], mask),
        "z_0_hat": difference(made.z_0_hat, case["z_0_hat"], mask),
        "logits": difference(model.embedding.logits(z), case["logits"], mask),
        "loss_mse": difference(parts.mse.mean(), case["loss_mse"]),
        "loss_token": difference(parts.token.mean(), case["loss_token"]),
        "nll_token": difference(parts.nll.mean(), case["nll_token"]),
        "loss_length": difference(parts.length.mean(), case["loss_length"]),
    }


@torch.no_grad()
def replay_decoding(model: Denoiser, options: Options, case: Arrays) -> tuple[dict[str, float], Tensor, Tensor]:
    """Largest differences of the recorded decoding, our tokens [B, L] and their mask.

    decode_lengths are given to the decoding; predicted_lengths are what the model itself must come to.
    """
    source = torch.from_numpy(case["src"])
    memory = model.encode(source, source != PAD)
    gaps: dict[str, float] = {}
    if "predicted_lengths" in case:
        gaps["predicted_lengths"] = difference(model.predicted_lengths(memory).clamp_min(2), case["predicted_lengths"])
    lengths = case["decode_lengths"] if "decode_lengths" in case else case["predicted_lengths"]
    mask = length_mask(torch.from_numpy(lengths), case["decode_z_T"].shape[1])
    noise = iter(torch.from_numpy(case["decode_step_noise"]))
    steps: list[Tensor] = []
    visited = Visited.build(options.diffusion, options.decoding, released_slip=True)
    z_0_hat = sample(
        SAMPLERS[options.decoding.sampler](visited),
        denoiser(model, memory, mask, options.decoding),
        visited,
        torch.from_numpy(case["decode_z_T"]),
        lambda like: next(noise),
        options.decoding.early_stop,
        lambda *, t, z_t, z_0_hat: steps.append(z_0_hat),
    )
    if "decode_z_0_hat_per_step" in case:
        every = mask[None].expand(len(steps), -1, -1)
        gaps["decode_z_0_hat_per_step"] = difference(torch.stack(steps), case["decode_z_0_hat_per_step"], every)
    found = read_out(model, z_0_hat, mask)
    gaps["decode_scores"] = difference(token_scores(model, z_0_hat), case["decode_scores"], mask)
    return gaps, found.tokens, mask


def token_scores(model: Denoiser, z_0_hat: Tensor) -> Tensor:
    """Log-probability of the most likely token at each position, [B, L]."""
    return model.embedding.logits(z_0_hat).log_softmax(-1).amax(-1)


def same_tokens(tokens: Tensor, recorded: np.ndarray, mask: Tensor) -> bool:
    """Whether all tokens at real positions are those recorded."""
    return bool((tokens == torch.from_numpy(recorded))[mask].all())


def replay(path: Path) -> dict[str, Any]:
    """Replay a recorded case that holds its own weights."""
    options, weights, case = reading.read_recording(path)
    if "system" in options:
        return systems.replay(path, options, weights, case)
    if not weights:
        raise UserError(f"{path}: holds no weights; name the checkpoint it belongs to (--checkpoint, --dict, --case)")
    ours = reading.configuration(options, weights)
    model = reading.build_model(ours, weights)
    gaps = replay_training(model, ours, case)
    more, tokens, mask = replay_decoding(model, ours, case)
    gaps |= more
    identical = same_tokens(tokens, case["decode_tokens"], mask)
    return {"case": path.name, "differences": gaps, "largest": largest(gaps), "tokens_identical": identical}


def check_checkpoint(
    checkpoint: Path, dictionary: Path, case_path: Path | None
) -> tuple[dict[str, Any], Denoiser, RunConfig]:
    """Load a released checkpoint and, given a case, replay its decoding."""
    options, weights = reading.read_checkpoint(checkpoint)
    words = Tokenizer(Subwords(read_dictionary(dictionary)))
    vocab = reading.vocabulary(weights)
    if len(words) != vocab:
        raise UserError(f"{dictionary}: {len(words)} types with the four special ones, but {checkpoint} has {vocab}")
    case: Arrays = {}
    if case_path is not None:
        recorded, _, case = reading.read_recording(case_path)
        options |= recorded
    ours = reading.configuration(options, weights)
    model = reading.build_model(ours, weights)
    report: dict[str, Any] = {
        "checkpoint": checkpoint.name,
        "types": vocab,
        "parameters": sum(p.numel() for p in model.parameters()),
    }
    if case:
        gaps, tokens, mask = replay_decoding(model, ours, case)
        texts = [words.decode(row[real].tolist()) for row, real in zip(tokens, mask, strict=True)]
        identical = same_tokens(tokens, case["decode_tokens"], mask)
        report |= {"differences": gaps, "largest": largest(gaps), "tokens_identical": identical, "texts": texts}
    return report, model, RunConfig(ours)


def convert(model: Denoiser, config: RunConfig, dictionary: Path, folder: Path) -> None:
    """Write a released model in our format; `python -m core.translate` takes it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--convert {folder}: cannot be made ({error.strerror})") from error
    model_folder.save_weights(folder, model, config, source="released checkpoint")
    Tokenizer(Subwords(read_dictionary(dictionary))).save(folder / TOKENIZER)
