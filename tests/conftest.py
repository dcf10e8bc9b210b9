"""What all tests share: one thread, no window, no network, no stray files, the same examples on every run."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from fake_runs import write_study
from fake_sweep import tidy
from hypothesis import HealthCheck, settings
from standin import Server, serving

os.environ["WANDB_MODE"] = "offline"
os.environ["WANDB_SILENT"] = "true"
os.environ["MPLBACKEND"] = "Agg"
os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that tests start
for name in ("WANDB_API_KEY", "WANDB_RUN_ID", "WANDB_SWEEP_ID", "WANDB_PROJECT", "WANDB_ENTITY", "WANDB_BASE_URL"):
    os.environ.pop(name, None)  # a developer's own settings must not leak into what is tested

torch.set_num_threads(1)

settings.register_profile(
    "house", deadline=None, derandomize=True, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("house")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of invented runs of the 2x2x2, three seeds each; to be read only."""
    return write_study(tmp_path_factory.mktemp("runs"), "modules", seeds=(1, 2, 3))


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    """Every test starts from the same global generator and leaves torch's switches as they were."""
    torch.manual_seed(1)
    deterministic = torch.are_deterministic_algorithms_enabled()
    yield
    torch.use_deterministic_algorithms(deterministic)
    torch.set_flush_denormal(False)  # runs set it; hypothesis needs the small numbers


@pytest.fixture(autouse=True)
def _wandb_in_tmp(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever W&B writes outside a run's own folder goes to a temporary one."""
    folder = tmp_path_factory.mktemp("wandb")
    monkeypatch.delenv("WANDB_DIR", raising=False)
    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_ARTIFACT_DIR"):
        monkeypatch.setenv(name, str(folder))


@pytest.fixture
def wandb_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A stand-in for W&B's server, which clients started by the test find through the environment."""
    with serving() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        forget_wandb()
        yield server
        forget_wandb()


def forget_wandb() -> None:
    """Make the client in this process read its environment again (it does so once)."""
    if "wandb" in sys.modules:
        sys.modules["wandb"].teardown()


@pytest.fixture(scope="session")
def reported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A study of 8 arms and 3 seeds, and its report; the sentences of one run score differently."""
    from fake_runs import write_study

    from analysis.load import load
    from analysis.report.__main__ import write
    from analysis.report.page import page

    study = write_study(tmp_path_factory.mktemp("runs"), "modules", seeds=(1, 2, 3))
    (samples,) = study.glob("rounding+norm+F1-s2-*/samples.jsonl")
    rows = [json.loads(line) for line in samples.read_text().splitlines()]
    varied = [row | {"sentence_bleu": 7.0 * row["id"] % 30} for row in rows]
    samples.write_text("".join(json.dumps(row) + "\n" for row in varied))
    return study, write(page(load(study)), tmp_path_factory.mktemp("report"))


@pytest.fixture
def sweeping(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """For tests that start processes of sweeps: without W&B, and none is left behind."""
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with tidy():
        yield
