"""The model that a training leaves: the mean of its best checkpoints, or the best one (option averaging)."""

from pathlib import Path
from typing import Any

from torch import nn

from core import checkpoints, model_folder
from core.training.job import Job, State
from core.training.saved import best_path


def finish(network: Any, job: Job, state: State) -> tuple[int, dict[str, float]]:
    """Bring the model into network and model.safetensors; of how many checkpoints it is the mean (0 = none: the last
    weights), and what the best one and the mean scored on validation.

    Only files are read that the last validation left, so a run that is killed here ends the same.
    """
    job.ranks.wait()  # for the first rank to have written them
    paths = [best_path(job.folder, step) for _, step in state.best]
    validated = {"val_best": state.best[0][0]} if paths else {}
    if job.config.training.averaging == "best":
        paths = paths[:1]
    if paths:
        load_mean(network, paths)
    if len(paths) > 1 and job.config.training.averaging == "if_better":
        network.eval()
        validated["val_mean"] = job.validated(job.validate(network))
        if not validated["val_mean"] >= validated["val_best"]:
            paths = paths[:1]
            load_mean(network, paths)
    if job.ranks.lead:
        facts = {"step": state.step, "averaged": len(paths), "bleu_tokenizer": job.bleu_tokenizer}
        model_folder.save_weights(job.folder, network, job.config, **facts, **validated)
    return len(paths), validated


def load_mean(network: nn.Module, paths: list[Path]) -> None:
    """The mean of checkpoints, the best one first, into a network.

    Buffers, which may be counts, or a schedule that adapted, are those of the best one.
    """
    learned = {name for name, _ in network.named_parameters()}
    averaged = {name: value for name, value in checkpoints.average(paths).items() if name in learned}
    model_folder.load_weights(network, checkpoints.load(paths[0])[0] | averaged, paths[0])
