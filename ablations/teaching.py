"""The teacher of a distillation: trained in a folder of its own, scored, and what it writes for training sources."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ablations import records
from ablations.materials import Materials, Split
from ablations.teacher_options import IDLE, Writing
from core import batches, model_folder, scores, teacher, training
from core.autoregressive import Autoregressive
from core.batches import BatchStream
from core.config import RunConfig, digest, flat
from core.errors import UserError
from core.randomness import mixed
from core.training import Job

DECODE_TOKENS = 4096
"""Source tokens of a decoding batch."""

Say = Callable[[str], None]


def options_of(config: RunConfig) -> dict[str, Any]:
    """All options that decide a teacher, by name."""
    values = flat(config)
    others = {f.name for part in (config.diffusion, config.decoding) for f in dataclasses.fields(part)}
    others |= {"token_loss", "length_loss_factor", *IDLE}
    return {name: value for name, value in values.items() if name not in others}


def teacher_hash(config: RunConfig, corpus_digest: str) -> str:
    """Eight hexadecimal digits over a teacher's options and its corpus."""
    return digest(options_of(config) | {"corpus_digest": corpus_digest, "model": "autoregressive"})


def trained(config: RunConfig, materials: Materials, folder: Path, device: torch.device, say: Say) -> Autoregressive:
    """The teacher, trained from where the folder's last checkpoint left it. Raises UserError if it diverges."""
    materials.tokenizer.save(folder / model_folder.TOKENIZER)
    torch.manual_seed(mixed(config.seed, "teacher"))
    model = Autoregressive(config.model, len(materials.tokenizer), config.data.max_length).to(device)
    head = materials.valid.head(config.training.valid_sentences)

    def validate(model: Autoregressive) -> dict[str, float]:
        return validation(model, head, materials, device)

    def log(row: dict[str, Any]) -> None:
        metrics.log(row)
        if "val/bleu" in row:
            at = f"{row['train/step']}/{config.training.updates}"
            say(f"teacher: {at} updates, validation BLEU {row['val/bleu']:.2f} (greedy), nll {row['val/nll']:.3f}")

    stream = BatchStream(materials.train, config.training.batch_tokens, config.seed)
    with records.MetricsLog(folder / "metrics.jsonl", training.saved_step(folder)) as metrics:
        outcome = training.train(model, Job(config, folder, stream, validate, log, teacher.teacher_forcing))
    if outcome.diverged:
        raise UserError(
            f"the teacher's loss is not a number after {outcome.steps} updates; try a lower --lr (it was "
            f"{config.training.lr:g}) and another --out, or delete {folder.parent}"
        )
    return model.eval()


def validation(model: Autoregressive, split: Split, materials: Materials, device: torch.device) -> dict[str, float]:
    """-log p per token and greedy BLEU on a split."""
    batched = [batch.to(device) for _, batch in batches.decode_batches(split.encoded, DECODE_TOKENS)]
    found = translations(model, split, materials, Writing(beam=1), device)
    return {"val/nll": teacher.held_out_nll(model, batched), "val/bleu": scores.bleu(found, split.references)}


def translations(
    model: Autoregressive, split: Split, materials: Materials, writing: Writing, device: torch.device
) -> list[str]:
    """What the teacher writes for each sentence of a split."""
    made = batches.decode_batches(split.encoded, DECODE_TOKENS)
    batched = [(indices, batch.to(device)) for indices, batch in made]
    found = teacher.texts(model, batched, materials.tokenizer.decode, writing.beam, writing.length_penalty)
    return [found[index] for index in sorted(found)]


def write_targets(
    model: Autoregressive,
    materials: Materials,
    max_length: int,
    writing: Writing,
    path: Path,
    device: torch.device,
    say: Say,
) -> dict[int, str]:
    """{index of the training pair: what the teacher writes for its source}; too long sources are left out.

    A row for each batch goes to `path` (JSON lines); what is there already is not written again.
    """
    sources = [(source, "") for source, _ in materials.corpus.train]
    encoded = batches.encode(sources, materials.tokenizer, max_length, "train")
    found = {int(i): text for row in records.read_rows(path) for i, text in zip(row["id"], row["text"], strict=True)}
    told = len(found)
    with records.MetricsLog(path, 0) as log:
        for indices, batch in batches.decode_batches(encoded, DECODE_TOKENS):
            pairs = encoded.kept[indices].tolist()
            if all(pair in found for pair in pairs):
                continue
            one = [(pairs, batch.to(device))]
            texts = teacher.texts(model, one, materials.tokenizer.decode, writing.beam, writing.length_penalty)
            log.log({"id": pairs, "text": [texts[pair] for pair in pairs]})
            found |= texts
            if len(found) - told >= 2000 or len(found) == len(encoded):
                told = len(found)
                say(f"written: {told:,} of {len(encoded):,} targets")
    return found
