"""The released code's options, weight names and checkpoint files, in our terms.

A released checkpoint is a pickle and the numbers of its tensors; it is read by archives.py and pickles.py.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from core import reading
from core.config import RunConfig
from core.diffusion.denoiser import Denoiser
from core.errors import UserError
from core.methods.difformer import Difformer
from core.methods.difformer_options import Options
from core.model_folder import check_size, load_weights
from core.reading import Unreadable
from core.released import archives
from core.released.archives import Weights
from core.released.recordings import checked_options
from core.sections import (
    DecodingConfig,
    DiffusionConfig,
    LatentConfig,
    NetworkConfig,
    ObjectiveConfig,
    Placement,
)

EMBEDDINGS = "decoder.embed_tokens.weight"


def read_checkpoint(path: Path) -> tuple[dict[str, Any], Weights]:
    """Options and float32 weights of a released checkpoint. Raises UserError if it is none, or asks for more."""
    try:
        return archives.read(path)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except Unreadable as error:
        raise UserError(f"{path}: not a checkpoint of the released code ({error})") from error


def read_recording(path: Path) -> tuple[dict[str, Any], Weights, dict[str, np.ndarray]]:
    """Options, weights and arrays of a recorded case (.npz). Raises UserError if it is none."""
    try:
        arrays = reading.arrays(path)
        if "options" not in arrays:
            raise Unreadable("it has no 'options'")
        options = reading.parse_json(str(arrays.pop("options")))
        if not isinstance(options, dict) or any(array.dtype.kind not in "fiub" for array in arrays.values()):
            raise Unreadable("its options are no mapping, or an array holds no numbers")
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except Unreadable as error:
        raise UserError(f"{path}: not a recording ({error})") from error
    arrays = {name: array.astype(array.dtype.newbyteorder("="), copy=False) for name, array in arrays.items()}
    weights = {k.removeprefix("weight/"): torch.from_numpy(v) for k, v in arrays.items() if k.startswith("weight/")}
    return options, weights, {k: v for k, v in arrays.items() if not k.startswith("weight/")}


def configuration(options: dict[str, Any], weights: Weights) -> Options:
    """Our options for the released code's options (its argument names).

    Raises UserError on a value that the released code does not know, and on one that is missing.
    """
    try:
        made = _options(options, weights)
    except KeyError as error:
        raise UserError(f"the options of the released code lack {error}") from error
    return checked_options(made)


def _options(options: dict[str, Any], weights: Weights) -> Options:
    get = options.get
    diffusion = DiffusionConfig(
        diffusion_steps=options["diffusion_steps"],
        schedule=options["noise_schedule"],
        noise_factor=get("rescaling_factor", 1.0),
        variance_preserving=bool(get("vp_rf")),
    )
    objective = ObjectiveConfig(
        token_loss="rounding" if get("rounding_loss") else "anchor",
        label_smoothing=get("label_smoothing", 0.0),
        length_loss_factor=get("length_loss_factor", 0.1),
    )
    return Options(_network(options, weights), _latent(options), diffusion, objective, _decoding(options))


def _network(options: dict[str, Any], weights: Weights) -> NetworkConfig:
    """Where no option says whether the decoder is pre-norm, its final norm tells it."""
    get = options.get
    return NetworkConfig(
        model_dim=options["model_dim"],
        encoder_layers=options["encoder_layers"],
        decoder_layers=options["decoder_layers"],
        ffn_dim=options["encoder_ffn_embed_dim"],
        decoder_ffn_dim=get("decoder_ffn_embed_dim"),
        heads=options["encoder_attention_heads"],
        decoder_heads=get("decoder_attention_heads"),
        dropout=get("dropout") or 0.0,
        activation=get("activation_fn", "relu"),
        pre_norm=bool(get("encoder_normalize_before")),
        decoder_pre_norm=bool(get("decoder_normalize_before", "decoder.layer_norm.weight" in weights)),
        learned_positions=bool(get("encoder_learned_pos")),
        decoder_learned_positions=bool(get("decoder_learned_pos")),
    )


def _latent(options: dict[str, Any]) -> LatentConfig:
    get = options.get
    place: Placement = "latent" if get("embed_norm_before_proj") else "decoder_input"
    return LatentConfig(
        latent_dim=options["latent_dim"],
        embedding_norm=place if get("embed_norm") else "none",
        embedding_norm_affine=bool(get("embed_norm_affine")),
        scale_embedding=not get("no_scale_embedding"),
        share_embedding=bool(get("share_all_embeddings")),
        share_projection=bool(get("share_project_in_dim")),
        self_conditioning=bool(get("self_cond")),
        self_conditioning_before_projection=bool(get("self_cond_before_proj")),
        rescale_timesteps=bool(get("rescale_timesteps")),
        length_offset=bool(get("pred_length_offset")),
    )


def _decoding(options: dict[str, Any]) -> DecodingConfig:
    get = options.get
    return DecodingConfig(
        decoding_steps=options["decoding_steps"],
        early_stop=get("decoding_early_stopping") or 0,
        decoding_noise_factor=get("decoding_rescaling_factor", 1.0),
        decoding_schedule=get("decoding_noise_schedule") or None,
        decoding_variance_preserving=bool(get("decoding_vp_rf")),
        clamping=bool(get("clamping")),
        fixed_t=get("decoding_fixed_t"),
        length_candidates=get("length_beam_size") or 1,
        noise_candidates=get("noise_beam_size") or 1,
        selection="mbr" if get("bleu_mbr", True) else "model",
    )


def build_model(options: Options, weights: Weights) -> Denoiser:
    """Our network with the released weights, dropout off.

    Raises UserError naming weights that are missing, left over or of other sizes.
    """
    vocab = vocabulary(weights)
    _check_layers(options, weights)
    tables = [v for k, v in weights.items() if k.endswith("embed_positions.weight")]
    positions = min((table.shape[0] - 2 if table.ndim else 0 for table in tables), default=1024)
    check_size(RunConfig(options), vocab, positions, weights, "the recording")
    try:
        model = Difformer(options).build(vocab, positions)
        renamed = rename(weights, options.latent, positions)
    except (KeyError, IndexError, RuntimeError, ValueError) as error:
        raise UserError(f"the weights do not fit the options ({' '.join(str(error).split())[:300]})") from error
    load_weights(model, renamed, "the recording")
    return model.eval()


def vocabulary(weights: Weights) -> int:
    """The number of types. Raises UserError without a table of embeddings."""
    table = weights.get(EMBEDDINGS)
    if table is None or table.ndim != 2:
        raise UserError(f"the weights lack a table {EMBEDDINGS}")
    return len(table)


def _check_layers(options: Options, weights: Weights) -> None:
    """Raises UserError unless the weights have as many layers as the options say."""
    network = options.network
    for side, layers in (("encoder", network.encoder_layers), ("decoder", network.decoder_layers)):
        there = {name.split(".")[2] for name in weights if name.startswith(f"{side}.layers.")}
        if len(there) != layers:
            raise UserError(f"option {side}_layers: {layers} do not fit the weights, which have {len(there)}")


def rename(weights: Weights, config: LatentConfig, positions: int) -> Weights:
    """Released weights by our names: queries, keys and values joined, padding rows of position tables left off."""
    renamed: Weights = {}
    for name, value in joined(weights).items():
        ours = _our_name(name, config)
        if ours is not None:
            renamed[ours] = value[2 : positions + 2] if name.endswith("embed_positions.weight") else value
    if config.share_projection and "encoder_in.weight" not in renamed and "decoder_in.weight" in renamed:
        renamed["encoder_in.weight"] = renamed["decoder_in.weight"]  # one weight, recorded once
    return renamed


def joined(weights: Weights) -> Weights:
    """q, k, v of self-attention and k, v of cross-attention as one matrix each."""
    made = dict(weights)
    for name in [n for n in weights if ".k_proj." in n]:
        parts = ("q", "k", "v") if ".self_attn." in name else ("k", "v")
        rows = [made.pop(name.replace(".k_proj.", f".{part}_proj.")) for part in parts]
        made[name.replace(".k_proj.", ".qkv." if len(parts) == 3 else ".kv.")] = torch.cat(rows)
    return made


PREFIXES = {
    "encoder.project_in_dim.": "encoder_in.",
    "decoder.project_in_dim.": "decoder_in.",
    "decoder.project_out_dim.": "decoder_out.",
    "encoder.embed_positions.weight": "encoder_positions.table",
    "decoder.embed_positions.weight": "decoder_positions.table",
    "encoder.layers.": "encoder_layers.",
    "decoder.layers.": "decoder_layers.",
    "encoder.layer_norm.": "encoder_norm.",
    "decoder.layer_norm.": "decoder_norm.",
    "decoder.embed_length.weight": "length_table",
    "decoder.self_cond_proj.": "self_condition.",
    "decoder.embed_time.": "time.",
}
PARTS = {
    ".self_attn.out_proj.": ".attention.out.",
    ".self_attn.qkv.": ".attention.qkv.",
    ".self_attn_layer_norm.": ".attention_norm.",
    ".encoder_attn.q_proj.": ".cross.q.",
    ".encoder_attn.kv.": ".cross.kv.",
    ".encoder_attn.out_proj.": ".cross.out.",
    ".encoder_attn_layer_norm.": ".cross_norm.",
    ".fc1.": ".ffn.0.",
    ".fc2.": ".ffn.2.",
    ".final_layer_norm.": ".ffn_norm.",
}


def _our_name(name: str, config: LatentConfig) -> str | None:
    """Our name of a released weight; None for copies and counters."""
    if name.startswith("decoder.embed_norm."):
        place = "embedding.norm." if config.embedding_norm == "latent" else "embedding_norm."
        return name.replace("decoder.embed_norm.", place)
    if name == "decoder.embed_tokens.weight":
        return "embedding.table"
    if name in ("encoder.embed_tokens.weight", "decoder.output_projection.weight"):
        own = "embedding.source_table" if name.startswith("encoder") else "embedding.output_table"
        return None if config.share_embedding else own
    if name.endswith((".version", "._float_tensor", "embed_positions.weights")):
        return None
    for prefix, ours in PREFIXES.items():
        if name.startswith(prefix):
            name = ours + name.removeprefix(prefix)
            for part, replacement in PARTS.items():
                name = name.replace(part, replacement)
            return name
    raise UserError(f"unknown weight {name!r} in the released model")
