"""What `python -m core.bench` measures: rates per CPU-second of training and of decoding, and this machine's own."""

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core.config import RunConfig, with_values
from core.methods import method_for
from core.precision import autocast
from core.text.batches import Batch, BatchStream, Encoded, Ragged, decode_batches
from core.text.tokenizer import BOS, EOS
from core.training.job import Job
from core.training.loop import Loop

MEAN_LENGTH = 14
PRECISIONS = ("float32", "bfloat16")
WARM = 2
"""Updates before the clock starts."""


@dataclass(frozen=True)
class Size:
    """A size to measure."""

    name: str
    options: Mapping[str, Any]
    vocab: int
    batch_tokens: int
    updates: int
    sentences: int


SIZES = (
    Size("128-wide, 2+2", {}, 8000, 1024, 10, 200),
    Size(
        "512-wide, 6+6 (IWSLT14)",
        dict(model_dim=512, latent_dim=128, ffn_dim=1024, encoder_layers=6, decoder_layers=6),
        10000,
        1024,
        2,
        24,
    ),
)


GPU_SIZES = (
    Size("512-wide, 6+6 (IWSLT14)", {**SIZES[1].options, "dropout": 0.3}, 10000, 8192, 0, 0),
    Size(
        "512-wide, 4+4 (preset gpu)",
        {**SIZES[1].options, "encoder_layers": 4, "decoder_layers": 4, "dropout": 0.3},
        8000,
        8192,
        0,
        0,
    ),
)


def random_text(vocab: int, sentences: int) -> Encoded:
    """Pairs of random token ids."""
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.poisson(MEAN_LENGTH - 2, (sentences, 2)), 2, 60)
    sources = [[*rng.integers(4, vocab, n).tolist(), EOS] for n in lengths[:, 0]]
    targets = [[BOS, *rng.integers(4, vocab, n).tolist(), EOS] for n in lengths[:, 1]]
    return Encoded(Ragged.of(sources), Ragged.of(targets), np.arange(sentences))


def training_rate(size: Size, precision: str = "float32") -> float:
    """Target tokens (padding not counted) per CPU-second, through the very loop that trains."""
    config = with_values(RunConfig(), {**size.options, "precision": precision})
    method = method_for(config.method)
    network = method.build(size.vocab, 128).train()
    stream = BatchStream(random_text(size.vocab, 4000), size.batch_tokens, 1)
    tokens, spent = 0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        loop = Loop(network, Job(config, method, Path(folder), stream, lambda network: {}, lambda row: None))
        for step in range(size.updates + WARM):
            started, batch = time.process_time(), stream.at(step)
            loop.step(batch, step)
            loop.state.step += 1
            if step >= WARM:
                tokens += batch.target_tokens
                spent += time.process_time() - started
    return tokens / spent


@torch.no_grad()
def decoding_rate(size: Size, precision: str = "float32", early_stop: int = 0) -> float:
    """Sentences per CPU-second, 20 steps, one candidate, lengths as of the references."""
    config = with_values(RunConfig(), {**size.options, "early_stop": early_stop, "decoding_precision": precision})
    method = method_for(config.method)
    network = method.build(size.vocab, 128).eval()
    batches = [batch for _, batch in decode_batches(random_text(size.vocab, size.sentences), 2048)]
    started = time.process_time()
    with autocast(config, torch.device("cpu"), decoding=True):
        for batch in batches:
            write_true_lengths(network, batch)
            method.decode(network, batch, method.options.decoding, 1)
    return size.sentences / (time.process_time() - started)


def write_true_lengths(network: Any, batch: Batch) -> None:
    """Let an untrained network that predicts lengths predict those of the references of this batch."""
    network.predicted_lengths = lambda source: batch.target_mask.sum(1)


def matrix_speed(precision: str = "float32") -> float:
    """GFLOP/s of a matrix product on one thread."""
    a, b = (torch.randn(1024, 1024).to(getattr(torch, precision)) for _ in range(2))
    times = []
    for _ in range(12):
        started = time.process_time()
        a @ b
        times.append(time.process_time() - started)
    return 2 * 1024**3 / statistics.median(times) / 1e9


def median_of(repeats: int, measure: Callable[[], float]) -> tuple[float, float, float]:
    """(median, lowest, highest) of several measurements."""
    found = sorted(measure() for _ in range(repeats))
    return statistics.median(found), found[0], found[-1]
