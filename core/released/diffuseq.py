"""Recordings of the released DiffuSeq, replayed by ours.

Its own vocabulary has START, END, UNK and PAD where ours has BOS, PAD, EOS and UNK: the types are renamed.
"""

from typing import Any

import torch
from torch import Tensor

from core.checks import check
from core.config import RunConfig
from core.diffusion import end_to_end
from core.diffusion.end_to_end import Draws
from core.diffusion.end_to_end_sections import ProcessConfig, SpaceConfig
from core.diffusion.latent_denoiser import LatentDenoiser, Layout
from core.diffusion.probes import nearest_types
from core.diffusion.time_samplers import LossSecondMoments
from core.diffusion.walks import Plan, Walker
from core.errors import UserError
from core.methods.diffuseq import DiffuSeq
from core.methods.diffuseq_options import CanvasConfig, CanvasWalk, Options
from core.model_folder import load_weights
from core.networks.token_loss import token_terms
from core.options import replaced, values_of
from core.released.comparison import Arrays, Comparison
from core.sections import NetworkConfig
from core.step import reduced
from core.text.batches import Batch
from core.text.tokenizer import BOS, EOS, PAD, UNK

Weights = dict[str, Tensor]

PARTS = {
    "time_embed.": "time.",
    "input_up_proj.": "up.",
    "output_down_proj.": "down.",
    "LayerNorm.": "input_norm.",
    "input_transformers.layer.": "layers.",
    ".attention.output.dense.": ".attention.out.",
    ".attention.output.LayerNorm.": ".attention_norm.",
    ".intermediate.dense.": ".ffn.0.",
    ".output.dense.": ".ffn.2.",
    ".output.LayerNorm.": ".ffn_norm.",
}
TABLES = {
    "word_embedding.weight": "embedding.table",
    "lm_head.bias": "embedding.bias",
    "position_embeddings.weight": "positions.table",
}


def replay(options: dict[str, Any], weights: Weights, case: Arrays) -> dict[str, Any]:
    """How far our DiffuSeq is from a recording: batch, training step and gradients, sampler of t, decodings."""
    ours, types = configuration(options, case), our_types(options)
    method = DiffuSeq(ours)
    network = network_of(method, options, weights, types)
    found = Comparison()
    replay_training(found, method, network, case, types)
    if "sampler_t" in case:
        replay_sampler(found, case, options["diffusion_steps"])
    layout = network.layout(*sides(case, types))
    for name in options["decodings"]:
        replay_decoding(found, network, decoding_of(ours, options, options[name]), layout, case, name, types)
    return found.report()


# What was recorded, in our terms


def our_types(options: dict[str, Any]) -> Tensor:
    """Our index of each of its types, [V]: the four special ones change places."""
    ours = torch.full((options["vocab_size"],), -1)
    for name, index in (("start", BOS), ("end", EOS), ("pad", PAD), ("unk", UNK)):
        ours[options[name]] = index
    if options["sep"] != options["end"] or sorted(ours[ours >= 0].tolist()) != [BOS, PAD, EOS, UNK]:
        raise UserError("a recording in which SEP is not END, or special types share an index, is not replayed")
    ours[ours < 0] = torch.arange(4, len(ours))
    return ours


def configuration(options: dict[str, Any], case: Arrays) -> Options:
    """Our options for a recording's. Raises UserError on values that no run can have."""
    if not options["predict_xstart"]:
        raise UserError("a recording of a network that predicts the noise is not replayed")
    lossaware = "sampler_t" in case
    made = Options(
        NetworkConfig(
            model_dim=options["width"],
            encoder_layers=options["layers"],
            decoder_layers=0,
            ffn_dim=options["ffn"],
            heads=options["heads"],
            dropout=0.0,
            activation="gelu",
        ),
        SpaceConfig(
            latent_dim=options["hidden_dim"],
            time_dim=options["hidden_t_dim"],
            rescale_timesteps=options["rescale_timesteps"],
        ),
        CanvasConfig(sequence_length=options["seq_len"], count_source=True),
        ProcessConfig(
            diffusion_steps=options["diffusion_steps"],
            schedule=options["noise_schedule"],
            time_sampler="lossaware" if lossaware else "uniform",
        ),
        decoding=CanvasWalk(variance="large", decoding_steps=2),
    )
    return replaced(made, values_of(made, all_of_them=True))


def decoding_of(ours: Options, options: dict[str, Any], walk: dict[str, Any]) -> Options:
    """Our options with a recorded decoding. It goes by gap (DDIM) or by respacing; DDIM ignores clamp_step and top_p.

    Raises UserError on what the released code has and ours has not.
    """
    T, ddim = options["diffusion_steps"], "eta" in walk or walk["gap"] > 1
    kept = walk["timestep_respacing"]
    if not walk["clamp_first"] or walk.get("eta", 0.0) != 0.0 or (ddim and kept):
        raise UserError("a decoding that clamps last, adds noise to DDIM, or respaces DDIM is not replayed")
    top_p = walk["top_p"] if walk["top_p"] and walk["top_p"] > 0 else None
    made = CanvasWalk(
        sampler="ddim" if ddim else "ancestral",
        variance="large",
        released_ddim=ddim,
        decoding_steps=T // walk["gap"] if ddim else int(kept or T),
        clamp_step=0 if ddim else walk["clamp_step"],
        top_p=None if ddim or top_p is None else float(top_p),
    )
    chosen = replaced(ours, values_of(made, all_of_them=True))
    check(RunConfig(chosen))
    return chosen
