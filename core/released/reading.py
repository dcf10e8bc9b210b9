"""The released code's options, weight names and checkpoint files, in our terms.

A released checkpoint is a pickle. It is read by an unpickler that admits tensors, containers and argparse.Namespace
alone; the two enums of the released modules become inert stand-ins, everything else is refused.
"""

import argparse
import collections
import json
import pickle
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.checks import check
from core.config import RunConfig
from core.diffusion.denoiser import Denoiser
from core.errors import UserError
from core.methods.difformer import Difformer
from core.methods.difformer_options import Options
from core.model_folder import load_weights
from core.options import replaced, values_of
from core.sections import (
    DecodingConfig,
    DiffusionConfig,
    LatentConfig,
    NetworkConfig,
    ObjectiveConfig,
    Placement,
)

Weights = dict[str, Tensor]


class Inert:
    """Stands for an enum member of the released modules; nothing of it is run or read."""

    def __init__(self, *values: Any) -> None:
        self.values = values


ADMITTED: dict[tuple[str, str], Any] = {
    ("argparse", "Namespace"): argparse.Namespace,
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
    ("difformer.modules", "SelfCondPosition"): Inert,
    ("difformer.modules", "EmbedNormPosition"): Inert,
} | {
    ("torch", name): getattr(torch, name)
    for name in ("HalfStorage", "FloatStorage", "DoubleStorage", "BFloat16Storage", "LongStorage", "IntStorage")
    + ("ShortStorage", "CharStorage", "ByteStorage", "BoolStorage")
}


class RestrictedUnpickler(pickle.Unpickler):
    """Finds nothing but what ADMITTED names, so a file cannot execute anything."""

    def find_class(self, module: str, name: str) -> Any:
        """The admitted object of that name; UnpicklingError for any other."""
        try:
            return ADMITTED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"refused: the file asks for {module}.{name}") from None


def _pickle_module() -> types.ModuleType:
    """What torch.load takes for `pickle`, with our unpickler in it."""
    module = types.ModuleType("restricted_pickle")
    module.Unpickler = RestrictedUnpickler  # type: ignore[attr-defined]
    module.load = lambda file, **keys: RestrictedUnpickler(file, **keys).load()  # type: ignore[attr-defined]
    module.UnpicklingError = pickle.UnpicklingError  # type: ignore[attr-defined]
    return module


BROKEN: tuple[type[Exception], ...] = (
    *(pickle.UnpicklingError, RuntimeError, EOFError, LookupError, TypeError, ValueError),
    *(AttributeError, OSError, AssertionError, ImportError, zipfile.BadZipFile),
)
"""What reading a file that is no checkpoint, or a damaged one, may end in."""


def read_checkpoint(path: Path) -> tuple[dict[str, Any], Weights]:
    """Options and float32 weights of a released checkpoint. Raises UserError if it is none, or asks for more."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=False, pickle_module=_pickle_module())
        options, weights = vars(content["args"]), {name: value.float() for name, value in content["model"].items()}
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except BROKEN as error:
        raise UserError(f"{path}: not a checkpoint of the released code ({error})") from error
    return options, weights


def read_recording(path: Path) -> tuple[dict[str, Any], Weights, dict[str, np.ndarray]]:
    """Options, weights and arrays of a recorded case (.npz). Raises UserError if it is none."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except BROKEN as error:
        raise UserError(f"{path}: not a recording ({error})") from error
    if "options" not in arrays:
        raise UserError(f"{path}: not a recording (it has no 'options')")
    try:
        options = json.loads(str(arrays.pop("options")))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: its options are not JSON ({error})") from error
    weights = {k.removeprefix("weight/"): torch.from_numpy(v) for k, v in arrays.items() if k.startswith("weight/")}
    return options, weights, {k: v for k, v in arrays.items() if not k.startswith("weight/")}


def configuration(options: dict[str, Any], weights: Weights) -> Options:
    """Our options for the released code's options (its argument names).

    Raises UserError on a value that the released code does not know.
    """
    get = options.get
    diffusion = DiffusionConfig(
        diffusion_steps=options["diffusion_steps"],
        schedule=options["noise_schedule"],
        noise_factor=float(get("rescaling_factor", 1.0)),
        variance_preserving=bool(get("vp_rf")),
    )
    objective = ObjectiveConfig(
        token_loss="rounding" if get("rounding_loss") else "anchor",
        label_smoothing=get("label_smoothing", 0.0),
        length_loss_factor=get("length_loss_factor", 0.1),
    )
    made = Options(_network(options, weights), _latent(options), diffusion, objective, _decoding(options))
    made = replaced(made, values_of(made, all_of_them=True))  # checks types and choices
    check(RunConfig(made))
    return made


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
        decoding_noise_factor=float(get("decoding_rescaling_factor", 1.0)),
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

    Raises UserError naming weights that are missing or left over.
    """
    vocab = len(weights["decoder.embed_tokens.weight"])
    tables = [v for k, v in weights.items() if k.endswith("embed_positions.weight")]
    positions = min((len(table) - 2 for table in tables), default=1024)
    model = Difformer(options).build(vocab, positions)
    renamed = rename(weights, options.latent, positions)
    load_weights(model, renamed, "the recording")
    return model.eval()


def rename(weights: Weights, config: LatentConfig, positions: int) -> Weights:
    """Released weights by our names: queries, keys and values joined, padding rows of position tables left off."""
    renamed: Weights = {}
    for name, value in _joined(weights).items():
        ours = _our_name(name, config)
        if ours is not None:
            renamed[ours] = value[2 : positions + 2] if name.endswith("embed_positions.weight") else value
    if config.share_projection and "encoder_in.weight" not in renamed and "decoder_in.weight" in renamed:
        renamed["encoder_in.weight"] = renamed["decoder_in.weight"]  # one weight, recorded once
    return renamed


def _joined(weights: Weights) -> Weights:
    """q, k, v of self-attention and k, v of cross-attention as one matrix each."""
    joined = dict(weights)
    for name in [n for n in weights if ".k_proj." in n]:
        parts = ("q", "k", "v") if ".self_attn." in name else ("k", "v")
        rows = [joined.pop(name.replace(".k_proj.", f".{part}_proj.")) for part in parts]
        joined[name.replace(".k_proj.", ".qkv." if len(parts) == 3 else ".kv.")] = torch.cat(rows)
    return joined


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
