"""The folder of a distilled corpus: the text, corpus.json that says where it comes from, and a note for people."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ablations import provenance, records
from ablations.distill.teacher import options_of
from core import checkpoints, scores
from core.config import RunConfig, flat
from core.evaluator import Evaluator
from core.options import values_of
from core.run_folder import WEIGHTS, replacing, write_json
from core.text import origin
from core.text.complexity import translation_entropy
from core.text.corpus import SPLITS, Pairs
from core.text.lines import on_one_line
from core.text.materials import Materials

NOTE = """# {name}, distilled

Made by `{command}` from {source} ({digest}).

- valid and test are those of the source. train has its sources; each target is what a teacher ({kind}; {decoding})
  wrote for it: sequence-level knowledge distillation (Kim and Rush 2016).
- The teacher (`teacher/`, {parameters:,} parameters, {updates:,} updates) has BLEU {bleu:.2f} on test and
  {valid_bleu:.2f} on validation ({signature}).
- {written:,} targets: BLEU {target_bleu:.2f} against those they replace, {identical:,} the same, {empty:,} empty (a run
  drops and counts those); {left_out:,} pairs left out, whose source is too long for the teacher. Entropy of a target
  word given its source word: {translation_entropy:.3f} bits, before {translation_entropy_before:.3f}.
- A tokenizer trained on this folder differs from one trained on the source: the subwords are learned from its targets.

corpus.json holds all of this and the rest; every run on this folder repeats it in its record. Text that is changed by
hand no longer has this origin: remove corpus.json then.

Licence: that of the source
"""


KINDS = {"autoregressive": "autoregressive Transformer"}
"""What a teacher is, in words."""


def write_corpus(
    out: Path,
    evaluator: Evaluator,
    teacher: str,
    scored: Mapping[str, Sequence[str]],
    targets: Mapping[int, str],
) -> None:
    """Write the text, the note and last corpus.json, without which the folder is not done.

    teacher: its hash; scored: what it wrote for valid and test; targets: {index of the training pair: new target}.
    """
    config, materials = evaluator.config, evaluator.materials
    old = [materials.corpus.train[index] for index in sorted(targets)]
    train = [(source, targets[index]) for (source, _), index in zip(old, sorted(targets), strict=True)]
    splits = {"train": train, "valid": materials.corpus.valid, "test": materials.corpus.test}
    text = {}
    for split in SPLITS:
        for side, suffix in enumerate((config.data.src, config.data.tgt)):
            content = "".join(f"{line_of(pair[side])}\n" for pair in splits[split]).encode()
            write(out / f"{split}.{suffix}", content)
            text[f"{split}.{suffix}"] = origin.digest(content)
    for name, content in reference_texts(materials.corpus.references).items():
        write(out / name, content)
        text[name] = origin.digest(content)
    made = {
        "made_by": "distillation",
        "command": " ".join(sys.orig_argv),
        "commit": provenance.commit(),
        "made": records.now(),
        "source": source_facts(config, materials),
        "teacher": teacher_facts(out / "teacher", evaluator, teacher, scored),
        "decoding": {} if evaluator.decoding is None else values_of(evaluator.decoding),
        "targets": target_facts(old, train, evaluator.bleu_tokenizer)
        | {"left_out": len(materials.corpus.train) - len(train)},
        "text": text,
    }
    write(out / "README.md", note(out.name, made).encode())
    write_json(out / origin.FILE, made)


def line_of(text: str) -> str:
    """The text as a line of a file. What was read of one is one; what a file of JSON lines or a teacher wrote may not
    be."""
    return text if "\n" not in text and not text.endswith("\r") else on_one_line(text)


def reference_texts(references: Mapping[str, list[list[str]]]) -> dict[str, bytes]:
    """{file: content} of the references of held-out splits that have several: `test.ref0`, `test.ref1`, ..."""
    found = {}
    for split, groups in references.items():
        for i in range(max(map(len, groups))):
            lines = (group[i] if i < len(group) else "" for group in groups)
            found[f"{split}.ref{i}"] = "".join(f"{line}\n" for line in lines).encode()
    return found


def write(path: Path, content: bytes) -> None:
    """Replace a file as a whole."""
    with replacing(path) as draft:
        draft.write_bytes(content)


def source_facts(config: RunConfig, materials: Materials) -> dict[str, Any]:
    """Which corpus was distilled: the options of an embedded one; its own lineage if it was made from another."""
    text = materials.corpus
    facts: dict[str, Any] = {"name": text.name, "digest": text.digest, "train_pairs": len(text.train)}
    if config.data.data is None:
        facts |= {name: value for name, value in flat(config).items() if name.startswith("corpus_")}
    return facts | ({"lineage": text.lineage} if text.lineage else {})


def teacher_facts(
    folder: Path, evaluator: Evaluator, teacher: str, scored: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """Which teacher wrote the targets, and how good it is."""
    config, materials = evaluator.config, evaluator.materials
    tensors, facts = checkpoints.load(folder / WEIGHTS)
    found = scores.score(scored["test"], materials.test.references, evaluator.bleu_tokenizer)
    return {
        "hash": teacher,
        "weights": origin.digest((folder / WEIGHTS).read_bytes()),
        "kind": KINDS.get(config.method.name, config.method.name),
        "bleu": found["bleu"],
        "valid_bleu": evaluator.value("bleu", materials.valid.references, scored["valid"]),
        "signature": found["signature"],
        "brevity_penalty": found["brevity_penalty"],
        "length_ratio": found["length_ratio"],
        "updates": facts["step"],
        "checkpoints_averaged": facts["averaged"],
        "parameters": sum(value.numel() for value in tensors.values()),
        "tokenizer": materials.tokenizer.name,
        "options": {name: value for name, value in options_of(config).items() if name != "data"},
    }


def target_facts(old: Pairs, new: Pairs, bleu_tokenizer: str) -> dict[str, Any]:
    """How the new targets differ from the old ones, whose facts end in `_before`.

    Words are what white space separates. bleu: against the old ones. translation_entropy: bits a word.
    """
    before, after = ([target for _, target in pairs] for pairs in (old, new))
    return {
        "written": len(after),
        "empty": sum(not target.strip() for target in after),
        "identical": sum(one == other for one, other in zip(before, after, strict=True)),
        "unique": len(set(after)),
        "unique_before": len(set(before)),
        "words": sum(len(target.split()) for target in after),
        "words_before": sum(len(target.split()) for target in before),
        "word_types": len({word for target in after for word in target.split()}),
        "word_types_before": len({word for target in before for word in target.split()}),
        "bleu": scores.bleu(after, before, bleu_tokenizer),
        "translation_entropy": translation_entropy(new),
        "translation_entropy_before": translation_entropy(old),
    }


def note(name: str, made: Mapping[str, Any]) -> str:
    """README.md of the folder."""
    teacher, targets = made["teacher"], made["targets"]
    return NOTE.format(
        name=name,
        command=made["command"],
        source=made["source"]["name"],
        digest=made["source"]["digest"],
        kind=teacher["kind"],
        decoding=", ".join(f"{name.replace('_', ' ')} {value}" for name, value in made["decoding"].items()),
        **{key: teacher[key] for key in ("parameters", "updates", "bleu", "valid_bleu", "signature")},
        **{key: value for key, value in targets.items() if key != "bleu"},
        target_bleu=targets["bleu"],
    )
