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
from core.config import RunConfig, with_values
from core.errors import UserError
from core.evaluator import Evaluator, new_network
from core.model_folder import Model
from core.options import nearest, replaced, values_of
from core.run_folder import TOKENIZER
from core.sections import DataConfig
from core.text.batches import BatchStream
from core.text.materials import Materials, device_for, prepare
from core.training import Job

Row = dict[str, Any]


def load_text(data: str | None = None, **options: Any) -> Materials:
    """The text of a folder, or without one the embedded corpus. options: of DataConfig, such as src and tgt.

    Raises UserError for whatever is wrong with options or text.
    """
    known = values_of(DataConfig())
    for name in options:
        if name not in known:
            raise UserError(f"unknown option {name!r} of text.{nearest(name, known)}")
    return prepare(replaced(DataConfig(data=data), options))


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
    Raises UserError on a wrong one.
    """
    config = with_values(RunConfig(data=text.config), {"method": method, **options})
    if config.data != text.config:
        raise UserError("options of the text belong to load_text: it has been read already")
    check(config)
    evaluator = Evaluator(text, config, device_for(device))
    network = new_network(config, evaluator.method, text, evaluator.device)
    stream = BatchStream(text.train, config.training.batch_tokens, config.seed)
    with ExitStack() as stack:
        where = Path(folder or stack.enter_context(tempfile.TemporaryDirectory()))
        where.mkdir(parents=True, exist_ok=True)
        job = Job(config, evaluator.method, where, stream, evaluator.validate, on_row or (lambda row: None))
        training.train(network, job)
        text.tokenizer.save(where / TOKENIZER)
    return Model(evaluator.method, network.eval(), config, text.tokenizer)
