"""The teacher of a distillation: trained in a folder of its own, and what it writes for training sources."""

from pathlib import Path
from typing import Any

from ablations.metrics_log import MetricsLog
from core import run_folder, training
from core.config import RunConfig, decoding_names, digest, flat
from core.errors import UserError
from core.evaluator import Evaluator, new_network
from core.generation import DECODE_TOKENS, translate
from core.saved_training import Say, saved_step
from core.text import batches
from core.text.batches import BatchStream
from core.text.materials import Split
from core.training import Job


def options_of(config: RunConfig) -> dict[str, Any]:
    """All options that decide a teacher, by name; how it writes is not among them."""
    others = decoding_names(config.method.name) | {"method"}
    return {name: value for name, value in flat(config).items() if name not in others}


def teacher_hash(config: RunConfig, corpus_digest: str) -> str:
    """Eight hexadecimal digits over a teacher's options and its corpus."""
    return digest(options_of(config) | {"corpus_digest": corpus_digest, "model": config.method.name})


def train_teacher(evaluator: Evaluator, folder: Path, say: Say) -> Any:
    """The teacher's network, trained from where the folder's last checkpoint left it.

    Raises UserError if it diverges.
    """
    materials, config, method = evaluator.materials, evaluator.config, evaluator.method
    materials.tokenizer.save(folder / run_folder.TOKENIZER)
    network = new_network(config, method, materials, evaluator.device)

    def log(row: dict[str, Any]) -> None:
        metrics.log(row)
        if "val/bleu" in row:
            losses = ", ".join(f"{name[4:]} {row[name]:.3f}" for name in row if name in ("val/nll", "val/mse"))
            at = f"{row['train/step']}/{config.training.updates}"
            say(f"teacher: {at} updates, validation BLEU {row['val/bleu']:.2f} (decoded simply), {losses}")

    stream = BatchStream(materials.train, config.training.batch_tokens, config.seed)
    with MetricsLog(folder / run_folder.METRICS, saved_step(folder, say)) as metrics:
        outcome = training.train(network, Job(config, method, folder, stream, evaluator.validate, log))
    if outcome.diverged:
        raise UserError(
            f"the teacher's loss is not a number after {outcome.steps} updates; try a lower --lr (it was "
            f"{config.training.lr:g}) and another --out, or delete {folder.parent}"
        )
    return network.eval()


def on_one_line(text: str) -> str:
    """The text without line breaks."""
    return " ".join(text.splitlines()).strip()


def translations(evaluator: Evaluator, network: Any, split: Split) -> list[str]:
    """What the teacher writes for each sentence of a split."""
    return [on_one_line(text) for text in evaluator.texts(network, split, evaluator.decoding)]


def write_targets(evaluator: Evaluator, network: Any, path: Path, say: Say) -> dict[int, str]:
    """{index of the training pair: what the teacher writes for its source}; too long sources are left out.

    A row for each batch goes to `path` (JSON lines); what is there already is not written again.
    """
    materials, config, method = evaluator.materials, evaluator.config, evaluator.method
    sources = [(source, "") for source, _ in materials.corpus.train]
    encoded = batches.encode(sources, materials.tokenizer, config.data.max_length, "train")
    found = {int(i): text for row in run_folder.read(path) for i, text in zip(row["id"], row["text"], strict=True)}
    told, decode = len(found), materials.tokenizer.decode
    with MetricsLog(path, 0) as log:
        for indices, batch in batches.decode_batches(encoded, DECODE_TOKENS // method.count(evaluator.decoding)):
            pairs = encoded.kept[indices].tolist()
            if all(pair in found for pair in pairs):
                continue
            one = [(pairs, batch.to(evaluator.device))]
            made = translate(method, network, one, evaluator.decoding, decode, config.seed)
            texts = {pair: on_one_line(text) for pair, text in made.items()}
            log.log({"id": pairs, "text": [texts[pair] for pair in pairs]})
            found |= texts
            if len(found) - told >= 2000 or len(found) == len(encoded):
                told = len(found)
                say(f"written: {told:,} of {len(encoded):,} targets")
    return found
