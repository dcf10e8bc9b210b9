"""The suite from Python, for notebooks: load text, train a method on it, use the model.

from core import load_text, train
text = load_text(corpus_pairs=2000)
model = train(text, "difformer", updates=200, on_row=print)
model.translate(text.test.sources[:3])
"""

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from core import methods, training
from core.checks import check
from core.config import RunConfig, flat, with_values
from core.errors import UserError
from core.evaluator import Evaluator, new_network
from core.model import Model
from core.options import nearest, replaced, values_of
from core.run_folder import STATE, TOKENIZER, read, write_json
from core.sections import DataConfig
from core.sizes import check_memory
from core.text.batches import BatchStream
from core.text.materials import Materials, device_for, prepare
from core.training.job import Job

Row = dict[str, Any]
NOTE = "training.json"
"""In the folder of a training: its options and the digest of its text."""


def load_text(data: str | None = None, **options: Any) -> Materials:
    """The text of a folder, or without one the embedded corpus. options: of DataConfig, such as src and tgt.

    Raises UserError for whatever is wrong with options or text.
    """
    known = values_of(DataConfig(), all_of_them=True)
    for name in options:
        if name not in known:
            raise UserError(f"unknown option {name!r} of text.{nearest(name, known)}")
    config = replaced(DataConfig(data=data), options)
    check(RunConfig(data=config))
    return prepare(config)


def train(
    text: Materials,
    method: str = methods.DEFAULT,
    on_row: Callable[[Row], None] | None = None,
    folder: str | Path | None = None,
    device: str = "auto",
    **options: Any,
) -> Model:
    """A trained model. on_row gets each row of metrics as it comes, validations included.

    folder: where checkpoints and the model are kept; a training that was stopped goes on from there. none: they are
    thrown away at the end. options: of the method and of training (python -m ablations.run --method NAME --help).
    Raises UserError on a wrong one, on a folder with a training of other text or options, and if training diverges.
    """
    config = with_values(RunConfig(data=text.config), {"method": method, **options})
    if config.data != text.config:
        raise UserError("options of the text belong to load_text: it has been read already")
    check(config)
    check_memory(config)
    evaluator = Evaluator(text, config, device_for(device))
    network = new_network(config, evaluator.method, text, evaluator.device)
    stream = BatchStream(text.train, config.training.batch_tokens, config.seed)
    with ExitStack() as stack:
        where = Path(folder or stack.enter_context(tempfile.TemporaryDirectory()))
        claim(where, config, text.corpus.digest)
        told, words = on_row or (lambda row: None), evaluator.bleu_tokenizer
        job = Job(config, evaluator.method, where, stream, evaluator.validate, told, bleu_tokenizer=words)
        outcome = training.train(network, job)
        if outcome.diverged:
            raise UserError(
                f"the loss is not a number after {outcome.steps} updates; try a lower lr, in another folder"
            )
        text.tokenizer.save(where / TOKENIZER)
    return evaluator.model(network.eval())


def claim(folder: Path, config: RunConfig, corpus_digest: str) -> None:
    """Make the folder of a training, with a note of what it is for. Raises UserError if it is for something else."""
    note, mine = folder / NOTE, flat(config) | {"data": None, "corpus_digest": corpus_digest}
    there = read(note) if note.exists() else {}
    other = [name for name in sorted(mine.keys() | there.keys()) if there.get(name) != mine.get(name)]
    if (note.exists() or (folder / STATE).exists()) and other:
        values = "; ".join(f"{name} {there.get(name)} there, {mine.get(name)} here" for name in other[:3])
        raise UserError(f"{folder} holds a training of other text or options ({values}); choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(note, mine)
