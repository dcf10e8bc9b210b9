"""What each file of a run folder and of a study's folder holds, as types: checked once, where it is read.

Keys that are not named here may hold anything. What an earlier version did not write has a value in FILLED.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypedDict

from core.reading.typed import Name, misfit

if TYPE_CHECKING:
    import numpy as np

Scalar = str | float | bool | None
"""An option's value, if it is one."""
Option = Scalar | list[Any]


class Lease(TypedDict):
    """Who runs it, until when."""

    host: str
    pid: int
    expires: float


class Identity(TypedDict, total=False):
    """What the run is called in W&B."""

    id: Name
    group: str
    sweep: str | None


class Data(TypedDict, total=False):
    """The text."""

    name: str | None
    digest: str | None
    train_pairs: int
    valid_pairs: int
    test_pairs: int
    dropped: dict[str, int] | None
    vocab_size: int | None
    tokenizer: str | None


class Tuning(TypedDict, total=False):
    """What was spent on choosing its options."""

    trials: int


class Options(TypedDict, total=False):
    """Of a run's options those that are computed with or written as numbers."""

    method: str | None
    metric: str | None
    updates: float | None
    batch_tokens: float | None
    diffusion_steps: float | None
    decoding_steps: float | None


class _Run(TypedDict):
    format: int
    arm: Name
    seed: int


class Run(_Run, total=False):
    """run.json."""

    study: Name
    label: str
    hash: Name
    config: dict[str, Option]
    toggles: dict[str, Scalar]
    state: str
    reason: str | None
    refused: bool
    outcome: str | None
    attempts: int
    lease: Lease | None
    started: str | None
    finished: str | None
    tuning: Tuning | None
    versions: dict[str, str]
    commit: str | None
    device: str | None
    processor: str | None
    threads: int | None
    command: str | None
    precision: str | None
    data: Data | None
    parameters: int | None
    ranks: int
    training_hash: str
    cost: dict[str, float | None]
    wandb: Identity | None
    search: dict[str, Any]
    told: list[int]
    trained_by: str | None


LARGEST_SEED = 2**63 - 1
STATES = ("pending", "running", "finished", "failed")


class Scores(TypedDict, total=False):
    """scores.json: scores by name, and what they are of."""

    bleu: float | None
    chrf: float | None
    sentences: int
    signature: str
    chrf_signature: str
    candidates: str
    by_steps: list[dict[str, float | None]] | None


class Sample(TypedDict, total=False):
    """A row of samples.jsonl."""

    id: int
    source: str
    reference: str
    hypothesis: str
    sentence_bleu: float | None
    trajectory: list[dict[str, Any]] | None


Logged = TypedDict("Logged", {"train/step": float, "train/seconds": float | None}, total=False)
"""A row of metrics.jsonl."""


class _Arm(TypedDict):
    name: Name


class Arm(_Arm, total=False):
    """An arm as a study describes it."""

    label: str | None
    toggles: dict[str, Scalar] | None
    values: dict[str, Any] | None


class Study(TypedDict, total=False):
    """study.json."""

    study: Name
    metric: str | None
    seeds: list[int] | None
    arms: list[Arm] | None
    factors: dict[str, list[Scalar]] | None
    varies: list[str] | None
    control: str | None
    claims: list[str] | None
    command: str | None
    preset: str | None
    banner: str | None
    runs: list[Name] | None
    optuna_study: str | None
    tuning: str | None
    corpus_digest: str | None
    commit: str | None
    search: Name | None


FILLED: dict[str, Any] = {"config": {}, "toggles": {}, "state": "pending", "reason": None, "refused": False}
FILLED |= {"outcome": "ok", "attempts": 0, "lease": None, "started": None, "finished": None, "tuning": {}}

AXES = {"mse": "t", "nll": "t", "accuracy": "t", "nearest": "t", "nearest_F1": "t", "oneshot_bleu": "fig5_t"}
AXES |= {"along_bleu": "along_t", "norm": "frequency", "norm_raw": "frequency", "types": "frequency"}
"""Arrays of probes.npz, and those that they are as long as."""


def wrong_run(value: Any) -> str:
    """What is wrong with a run.json, or nothing."""
    wrong = misfit(value, Run) or misfit(value.get("config", {}), Options, "config")
    if not wrong and value.get("state", "pending") not in STATES:
        wrong = "`state` is none of " + ", ".join(STATES)
    if not wrong and not 0 <= value["seed"] <= LARGEST_SEED:
        wrong = f"`seed` is not between 0 and {LARGEST_SEED}"
    odd = [] if wrong else [name for name in ("started", "finished") if not _is_time(value.get(name))]
    return f"`{odd[0]}` is no time" if odd else wrong


def _is_time(said: str | None) -> bool:
    """Whether a text is a time in ISO form, or there is none."""
    try:
        return said is None or bool(datetime.fromisoformat(said))
    except ValueError:
        return False


def wrong_study(value: Any) -> str:
    """What is wrong with a study.json, or nothing."""
    wrong = misfit(value, Study)
    names = [] if wrong else [arm["name"] for arm in value.get("arms") or []]
    return wrong or ("" if len(set(names)) == len(names) else "two of its `arms` have one name")


def wrong_arrays(arrays: Mapping[str, "np.ndarray"]) -> str:
    """What is wrong with the arrays of probes.npz, or nothing."""
    for name, array in arrays.items():
        if array.dtype.kind not in (
            "U" if name == "types" else "iufbU" if name not in {*AXES, *AXES.values()} else "iuf"
        ):
            return f"`{name}` holds no {'text' if name == 'types' else 'numbers'}"
        if name in {*AXES, *AXES.values()} and array.ndim != 1:
            return f"`{name}` has {array.ndim} dimensions, not one"
        axis = arrays.get(AXES.get(name, ""))
        if axis is not None and axis.shape != array.shape:
            return f"`{name}` is not as long as `{AXES[name]}`"
    return ""
