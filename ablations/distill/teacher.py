"""The teacher of a distillation: trained in a folder of its own, and what it writes for training sources."""

from pathlib import Path
from typing import Any

from ablations.metrics_log import MetricsLog
from ablations.show_training import ShownTraining
from core import run_folder, training, watching
from core.config import RunConfig, decoding_names, digest, flat
from core.errors import UserError
from core.evaluator import Evaluator, new_network
from core.model import batch_tokens
from core.text import batches, lines
from core.text.batches import BatchStream
from core.text.materials import Split
from core.training.job import Job
from core.training.saved import saved_step


def options_of(config: RunConfig) -> dict[str, Any]:
    """All options that decide a teacher, by name; how it writes is not among them."""
    others = decoding_names(config.method.name) | {"method"}
    return {name: value for name, value in flat(config).items() if name not in others}


def teacher_hash(config: RunConfig, corpus_digest: str) -> str:
    """Eight hexadecimal digits over a teacher's options and its corpus."""
    return digest(options_of(config) | {"corpus_digest": corpus_digest, "model": config.method.name})


def train_teacher(evaluator: Evaluator, folder: Path) -> Any:
    """The teacher's network, trained from where the folder's last checkpoint left it.

    Raises UserError if it diverges.
    """
    materials, config, method = evaluator.materials, evaluator.config, evaluator.method
    materials.tokenizer.save(folder / run_folder.TOKENIZER)
    network = new_network(config, method, materials, evaluator.device)
    stream = BatchStream(materials.train, config.training.batch_tokens, config.seed)
    step = saved_step(folder, watching.watcher().say)
    with MetricsLog(folder / run_folder.METRICS, step) as metrics:
        log = ShownTraining(config.training, step).after(metrics.log)
        job = Job(config, method, folder, stream, evaluator.validate, log, bleu_tokenizer=evaluator.bleu_tokenizer)
        outcome = training.train(network, job)
    if outcome.diverged:
        raise UserError(
            f"the teacher's loss is not a number after {outcome.steps} updates; try a lower --lr (it was "
            f"{config.training.lr:g}) and another --out, or delete {folder.parent}"
        )
    return network.eval()


def on_one_line(text: str) -> str:
    """The text without line breaks."""
    return lines.on_one_line(text).strip()


def translations(evaluator: Evaluator, network: Any, split: Split, name: str) -> list[str]:
    """What the teacher writes for each sentence of a split; name: of the split."""
    watching.stage(f"decoding the {name} set")
    return [on_one_line(text) for text in evaluator.texts(network, split, evaluator.decoding)]


def write_targets(evaluator: Evaluator, network: Any, path: Path) -> dict[int, str]:
    """{index of the training pair: what the teacher writes for its source}; too long sources are left out.

    A row for each batch goes to `path` (JSON lines); what is there already is not written again.
    """
    materials, config, decoding = evaluator.materials, evaluator.config, evaluator.decoding
    sources = [(source, "") for source, _ in materials.corpus.train]
    encoded = batches.encode(sources, materials.tokenizer, config.data.max_length, "train")
    found = {int(i): text for row in run_folder.read(path) for i, text in zip(row["id"], row["text"], strict=True)}
    budget, model = batch_tokens(evaluator.method, decoding, evaluator.device), evaluator.model(network)
    watching.stage("writing the targets")
    watching.watcher().reached(len(found), len(encoded))
    with MetricsLog(path, 0) as log:
        for indices, batch in batches.decode_batches(encoded, budget):
            pairs = encoded.kept[indices].tolist()
            if all(pair in found for pair in pairs):
                continue
            made = model.texts([(pairs, batch)], decoding, config.seed)
            texts = {pair: on_one_line(text) for pair, text in made.items()}
            log.log({"id": pairs, "text": [texts[pair] for pair in pairs]})
            found |= texts
            watching.watcher().reached(len(found), len(encoded))
    return found
