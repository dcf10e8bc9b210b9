"""What a run needs at the least, worked out from its options before anything is allocated, and what the machine has."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core import methods
from core.config import RunConfig, all_options
from core.errors import UserError
from core.memory import memory, shown
from core.networks import REPLAYED

GPU = Path("/dev/nvidia0")
USUAL_TYPES = 32_000
"""Types of a text that has not been read; it may have fewer than vocab_size says."""
FLOAT, DOUBLE, TRAINED, SCHEDULED = 4, 8, 16, 40
"""Bytes of a number, and of a long one; of a parameter with gradient and Adam's two moments; of a diffusion step while
tables are made."""
CUDA_OWN = 1.5e9
"""Bytes of a GPU that a process takes before it holds anything of ours."""
CORPUS = "the embedded corpus"
PAIR = 500
"""Bytes of a sentence pair as text and as ids."""


@dataclass(frozen=True)
class Need:
    """Bytes that something needs, and the options that decide it."""

    what: str
    bytes: float
    options: tuple[str, ...]


def needs(options: Mapping[str, Any], types: int, gpu: bool = False) -> list[Need]:
    """What a run with these options and so many types needs at the least. Options that it has not count as 0.

    gpu: counted with its batch also where a GPU holds that.
    """

    def of(name: str, otherwise: float = 0) -> float:
        value = options.get(name)
        return otherwise if value is None else float(value)

    d, ffn = of("model_dim"), of("ffn_dim")
    e, inner = of("latent_dim", d), of("decoder_ffn_dim", ffn)
    crossing = 0 if methods.options(options.get("method", methods.DEFAULT)).one_stack else 4 * d * d
    decoder = 4 * d * d + crossing + 2 * d * inner
    layers = of("encoder_layers") * (4 * d * d + 2 * d * ffn) + of("decoder_layers") * decoder
    kept = of("encoder_layers") * (6 * d + 2 * ffn) + of("decoder_layers") * (8 * d + 2 * inner)
    positions = max(2 * of("max_length"), of("sequence_length"))
    time = of("time_width") * (2 * of("time_features") + d)
    table = DOUBLE * of("diffusion_steps") * of("max_length") if "granularity" in options else 0.0
    sizes = ("model_dim", "ffn_dim", "decoder_ffn_dim", "encoder_layers", "decoder_layers")
    found = [
        Need("the weights of the layers in training", TRAINED * layers, sizes),
        Need("the embeddings in training", TRAINED * types * e, ("latent_dim", "model_dim", "vocab_size")),
        Need(
            "the position tables in training", TRAINED * positions * d, ("sequence_length", "max_length", "model_dim")
        ),
        Need("the projections in training", TRAINED * 3 * d * e * (d != e), ("latent_dim", "model_dim")),
        Need("the layers of the time in training", TRAINED * time, ("time_width", "time_features")),
        Need("the noise schedules of positions", table, ("diffusion_steps", "max_length")),
        Need("the noise schedule", SCHEDULED * of("diffusion_steps"), ("diffusion_steps",)),
    ]
    if options.get("data") is None:
        pairs = of("corpus_pairs") + 2 * of("corpus_heldout")
        found.append(Need(CORPUS, PAIR * pairs, ("corpus_pairs", "corpus_heldout")))
    if gpu or not GPU.exists():  # whose memory is its own, and which says itself what does not fit
        batch = of("batch_tokens") * (kept + 2 * types + 2 * e)
        found.append(Need("a batch in training", FLOAT * batch, ("batch_tokens", *sizes, "latent_dim")))
    return found


def on_gpu(config: RunConfig) -> float:
    """Bytes of a GPU's memory that a run takes, roughly: twice what it needs at the least, CUDA's own, and what is kept
    for decoding."""
    options = all_options(config)
    types = min(config.data.vocab_size, USUAL_TYPES)
    own = 2 * sum(need.bytes for need in needs(options, types, gpu=True) if need.what != CORPUS)
    return CUDA_OWN + own + min(own, REPLAYED)


def check_memory(config: RunConfig, types: int | None = None) -> None:
    """Raises UserError, naming the option, if a run cannot fit into the machine's memory. types: if they are known."""
    options, there = all_options(config), memory()
    if types is None:
        fewest = 3 * config.data.corpus_lexicon if config.data.data is None else USUAL_TYPES
        types = min(config.data.vocab_size, fewest)
    found = needs(options, types)
    if there is None or sum(need.bytes for need in found) <= there:
        return
    most = max(found, key=lambda need: need.bytes)
    usual = all_options(RunConfig(methods.options(config.method.name)))
    blamed = max(
        (name for name in most.options if options.get(name)), key=lambda n: options[n] / (usual[n] or options[n])
    )
    raise UserError(
        f"option {blamed}: {options[blamed]:,} asks for {shown(most.bytes)} of memory at the least ({most.what}), "
        f"and this machine has {shown(there)}"
    )
