"""What the tests of methods over tokens share: small networks, pairs, trainings that break off."""

from pathlib import Path
from typing import Any

import torch

from ablations import presets
from core import checkpoints
from core.config import RunConfig, with_values
from core.evaluator import new_network
from core.methods import method_for
from core.methods.method import Method
from core.run_folder import STATE, WEIGHTS
from core.text.batches import Batch, BatchStream
from core.text.materials import prepare
from core.text.tokenizer import BOS, EOS, PAD
from core.training import train
from core.training.job import Job

SMALL = {"model_dim": 16, "ffn_dim": 32, "heads": 2, "encoder_layers": 1, "decoder_layers": 1, "dropout": 0.0}


def method(name: str, **values: Any) -> Method[Any]:
    """A method with small layers."""
    chosen = with_values(with_values(RunConfig(), {"method": name}), SMALL | {"initialization": "xavier"} | values)
    return method_for(chosen.method)


def network(made: Method[Any], vocab: int = 12, positions: int = 24, seed: int = 3, spread: float = 0.3) -> Any:
    """A network whose distributions are far from uniform."""
    torch.manual_seed(seed)
    model = made.build(vocab, positions).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(spread * torch.randn_like(parameter))
    return model


def pairs(vocab: int = 12, rows: int = 3, source: int = 6, target: int = 9, seed: int = 4) -> Batch:
    """Random pairs, each one token shorter than the one before, the target with words alone."""
    drawn = torch.Generator().manual_seed(seed)
    sides = [torch.randint(4, vocab, (rows, length), generator=drawn) for length in (source, target)]
    sides[1][:, 0] = BOS
    for row in range(rows):
        for side in sides:
            end = side.shape[1] - row
            side[row, end - 1], side[row, end:] = EOS, PAD
    return Batch.padded(*sides)


def resumes(name: str, folder: Path, **values: Any) -> bool:
    """Whether a training that breaks off and goes on ends with the state and weights of one that does not."""
    chosen = with_values(
        presets.get("smoke").config_for(name), {"checkpoint_seconds": 0.0, "log_every": 1, "dropout": 0.2} | values
    )
    text, made = prepare(chosen.data), method_for(chosen.method)

    def run(where: Path, break_at: int | None = None) -> None:
        def log(row: dict[str, Any]) -> None:
            if row["train/step"] == break_at and "train/loss" in row:
                raise InterruptedError

        def score(model: Any) -> dict[str, float]:
            return {"val/bleu": float(model.embedding.table.detach().double().sin().sum())}

        where.mkdir(exist_ok=True)
        stream = BatchStream(text.train, chosen.training.batch_tokens, chosen.seed)
        train(new_network(chosen, made, text, torch.device("cpu")), Job(chosen, made, where, stream, score, log))

    run(folder / "whole")
    for stop in (5, None):
        try:
            run(folder / "half", stop)
        except InterruptedError:
            continue
    files = [[checkpoints.load(folder / part / name)[0] for part in ("whole", "half")] for name in (STATE, WEIGHTS)]
    return all(one.keys() == other.keys() and all(one[k].equal(other[k]) for k in one) for one, other in files)
