"""The seam: a method whose noise process adapts, stopping early, writing, options that belong to one method."""

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from ablations import presets, records
from ablations.execute import make_decodable
from core import checkpoints, evaluator, methods
from core.candidates import Candidates
from core.config import RunConfig, all_options, flat, recorded, with_values
from core.diffusion.draws import Draws, training_draws
from core.distributed import Ranks
from core.errors import UserError
from core.methods.method import Loss, Method, OnStep, Term
from core.options import MethodOptions, added
from core.run_folder import STATE, WEIGHTS
from core.text.batches import Batch, BatchStream
from core.text.materials import prepare
from core.training import train
from core.training.job import Job, Outcome, Stop, never
from core.training.loop import Loop
from core.training.saved import best_path

CPU = torch.device("cpu")
STEPS = 8


# A method with a process that adapts


@dataclass(frozen=True)
class Width:
    """A section of the method's own."""

    width: int = 4
    """Of an embedding."""
    momentum: float = added(0.5)
    """How much of what was known of a step stays."""
    order: str = added("new", as_before="old")
    """One whose default is not what it was without it."""


@dataclass(frozen=True)
class Options(MethodOptions):
    """The options of the method."""

    size: Width = Width()


class Network(nn.Module):
    """A table of embeddings, and how hard each step of the process was found to be, [STEPS]: t is drawn by it."""

    hardness: Tensor

    def __init__(self, vocab: int, max_positions: int, width: int) -> None:
        super().__init__()
        self.vocab, self.max_positions = vocab, max_positions
        self.table = nn.Parameter(torch.randn(vocab, width))
        self.register_buffer("hardness", torch.ones(STEPS))


class Adaptive(Method[Network]):
    """Pulls embeddings towards noise; where that is hard it looks more often."""

    options: Options

    def build(self, vocab: int, max_positions: int) -> Network:
        return Network(vocab, max_positions, self.options.size.width)

    def draw(self, network: Network, batch: Batch, seed: int, step: int) -> Draws:
        def by_hardness(T: int, count: int, source: torch.Generator) -> Tensor:
            return torch.multinomial(network.hardness, count, replacement=True, generator=source)

        return training_draws(seed, step, (*batch.target.shape, self.options.size.width), STEPS, CPU, by_hardness)

    def loss(self, network: Network, batch: Batch, draws: Draws) -> Loss:
        z = nn.functional.embedding(batch.target, network.table)
        error = (z - draws.eps * network.hardness[draws.t, None, None]).square().mean(-1)
        token = batch.real(error)
        return Loss({"error": Term(token), "sentence": Term(error.mean(1), None, 0.3)}, lambda: {"e": Term(token)})

    def adapt(self, network: Network, batch: Batch, draws: Draws, loss: Loss) -> None:
        count = torch.bincount(draws.t, minlength=STEPS)
        now = torch.bincount(draws.t, loss.terms["sentence"].values.tanh(), STEPS) / count.clamp(min=1)
        now = torch.where(count > 0, now, network.hardness)
        network.hardness.copy_(torch.lerp(now, network.hardness, self.options.size.momentum))

    def held_out(self, network: Network, batches: Iterable[Batch]) -> dict[str, float]:
        return {"val/error": 0.0}

    def decode(
        self, network: Network, batch: Batch, decoding: Any, seed: int, on_step: OnStep | None = None
    ) -> Candidates:
        return Candidates(batch.source, batch.source_mask, batch.source_mask.sum(1).float())


METHOD = Adaptive


def config(**values: Any) -> RunConfig:
    smoke = presets.get("smoke").config
    return with_values(
        dataclasses.replace(smoke, method=Options()), {"checkpoint_seconds": 0.0, "log_every": 1} | values
    )


def fresh() -> Network:
    torch.manual_seed(1)
    return Network(len(prepare(config().data).tokenizer), 128, 4)


def score(network: Network) -> dict[str, float]:
    """A score that depends on the weights alone."""
    return {"val/bleu": float(network.table.detach().double().sin().sum())}


def job(chosen: RunConfig, folder: Path, stop: Stop = never, break_at: int | None = None) -> Job:
    """A training; it breaks off as it logs the step break_at."""
    folder.mkdir(exist_ok=True)

    def log(row: dict[str, Any]) -> None:
        if row["train/step"] == break_at and "train/loss" in row:
            raise InterruptedError

    stream = BatchStream(prepare(chosen.data).train, chosen.training.batch_tokens, chosen.seed)
    return Job(chosen, Adaptive(chosen.method), folder, stream, score, log, stop)


def same_files(one: Path, other: Path, name: str) -> bool:
    """Whether two folders have the same tensors in a file."""
    ours, theirs = (checkpoints.load(folder / name)[0] for folder in (one, other))
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize("break_at", [1, 4, 6, 7, 12])
def test_what_adapts_resumes_bit_for_bit(break_at: int, tmp_path: Path) -> None:
    whole = fresh()
    train(whole, job(config(), tmp_path / "whole"))
    with pytest.raises(InterruptedError):
        train(fresh(), job(config(), tmp_path / "half", break_at=break_at))
    resumed = fresh()
    train(resumed, job(config(), tmp_path / "half"))
    assert same_files(tmp_path / "whole", tmp_path / "half", STATE)
    assert same_files(tmp_path / "whole", tmp_path / "half", WEIGHTS)
    assert torch.equal(whole.hardness, resumed.hardness)


def test_what_adapts_stands_in_checkpoints_and_in_the_model(tmp_path: Path) -> None:
    network = fresh()
    train(network, job(config(keep_best=1), tmp_path))
    state, weights = checkpoints.load(tmp_path / STATE)[0], checkpoints.load(tmp_path / WEIGHTS)[0]
    (best,) = tmp_path.glob("best-*")
    assert not torch.equal(state["model/hardness"], torch.ones(STEPS))
    assert torch.equal(weights["hardness"], checkpoints.load(best)[0]["hardness"])
    assert torch.equal(network.hardness, weights["hardness"])


def test_weights_are_averaged_and_what_adapted_is_the_best_ones(tmp_path: Path) -> None:
    network = fresh()
    train(network, job(config(keep_best=2, averaging="mean"), tmp_path))
    facts = checkpoints.load(tmp_path / STATE)[1]
    best, other = (checkpoints.load(best_path(tmp_path, step))[0] for _, step in facts["best"])
    assert torch.equal(network.hardness, best["hardness"]) and not torch.equal(best["hardness"], other["hardness"])
    torch.testing.assert_close(network.table, (best["table"] + other["table"]) / 2)


def test_what_adapts_decides_what_is_drawn() -> None:
    network, chosen = fresh(), config()
    batch = job(chosen, Path(".")).stream.at(0)
    with torch.no_grad():
        network.hardness[3:] = 0.0
    draws = Adaptive(chosen.method).draw(network, batch, 1, 0)
    assert int(draws.t.max()) < 3


def test_what_adapts_is_refused_on_several_processes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="adapts as it trains, which is not shared between processes"):
        Loop(fresh(), dataclasses.replace(job(config(), tmp_path), ranks=Ranks(0, 2)))


def test_buffers_that_are_no_numbers_any_more_become_0() -> None:
    network = fresh()
    with torch.no_grad():
        network.hardness[2], network.table[0, 0] = math.nan, math.inf
    make_decodable(network, Outcome(3, 9, 1.0, 0, diverged=True))
    assert network.hardness.tolist() == [1, 1, 0, 1, 1, 1, 1, 1] and float(network.table[0, 0].detach()) == 0
    assert not network.training


# Stopping early


def test_a_stop_ends_training_after_its_validation(tmp_path: Path) -> None:
    asked: list[tuple[int, dict[str, float]]] = []

    def stop(step: int, scores: dict[str, float]) -> bool:
        asked.append((step, scores))
        return step >= 8

    network, chosen = fresh(), config(valid_every=4)
    outcome = train(network, job(chosen, tmp_path / "half", stop))
    assert [step for step, _ in asked] == [4, 8] and all("val/bleu" in scores for _, scores in asked)
    assert (outcome.steps, outcome.averaged, outcome.stopped) == (8, 0, asked[-1][1])
    assert outcome.stopped == score(network), "the network is as it was then"
    assert not (tmp_path / "half" / WEIGHTS).exists()

    train(fresh(), job(chosen, tmp_path / "half"))
    train(fresh(), job(chosen, tmp_path / "whole"))
    assert same_files(tmp_path / "whole", tmp_path / "half", WEIGHTS), "it can go on from there"


class Led(Ranks):
    """One of several ranks, whose first one says what it is told to."""

    def told(self, value: Any) -> Any:
        return not value


def test_of_several_ranks_the_first_one_stops_all(tmp_path: Path) -> None:
    told = dataclasses.replace(job(config(), tmp_path), ranks=Led())
    assert train(fresh(), told).stopped is not None


def test_without_a_stop_an_outcome_says_so(tmp_path: Path) -> None:
    outcome = train(fresh(), job(config(averaging="mean"), tmp_path))
    assert outcome.stopped is None and (tmp_path / WEIGHTS).exists() and outcome.averaged == 2


# Writing


@dataclass(frozen=True)
class Writing:
    """A section of decoding."""

    effort: int = 1


@dataclass(frozen=True)
class WithDecoding(Options):
    """Options of which some are of decoding."""

    decoding: Writing = Writing()


def test_checkpoints_are_not_chosen_by_a_runs_own_decoding() -> None:
    """Runs that differ in it share their training."""
    assert Adaptive(WithDecoding(decoding=Writing(effort=9))).validation == Writing(effort=1)
    assert Adaptive(Options()).validation is None


class Watching(Adaptive):
    """Notes whether gradients are kept as it decodes."""

    kept: ClassVar[list[bool]] = []

    def decode(self, network: Network, *how: Any, **more: Any) -> Candidates:
        self.kept.append(torch.is_grad_enabled())
        return super().decode(network, *how, **more)


def test_no_method_keeps_gradients_as_it_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluator, "method_for", Watching)
    chosen = config()
    made = evaluator.Evaluator(prepare(chosen.data), chosen, CPU)
    made.texts(fresh(), made.valid, None)
    made.texts_by_step(fresh(), made.batched(made.valid), None)
    assert Watching.kept and not any(Watching.kept)


# Options


def test_an_option_of_another_method_is_refused_by_name() -> None:
    for values in (
        {"method": "autoregressive", "noise_factor": 2.0},
        {"noise_factor": 2.0, "method": "autoregressive"},
    ):
        with pytest.raises(
            UserError, match="option noise_factor: method autoregressive does not read it; it belongs to difformer"
        ):
            with_values(RunConfig(), values)
    with pytest.raises(UserError, match="option beam: method difformer does not read it; it belongs to autoregressive"):
        with_values(RunConfig(), {"beam": 3})
    with pytest.raises(UserError, match=r"unknown option 'beem'\. Did you mean 'beam'"):
        with_values(with_values(RunConfig(), {"method": "autoregressive"}), {"beem": 3})


@pytest.mark.parametrize("name", ["autoregresive", "Autoregressive", "auto-regressive"])
def test_an_unknown_method_names_the_nearest(name: str) -> None:
    with pytest.raises(UserError, match=rf"unknown method '{name}'\. Did you mean 'autoregressive'"):
        with_values(RunConfig(), {"method": name})


def test_another_method_keeps_the_options_that_both_have() -> None:
    ours = with_values(RunConfig(), {"model_dim": 64, "dropout": 0.25, "noise_factor": 2.0, "lr": 1e-3, "seed": 7})
    other = with_values(ours, {"method": "autoregressive", "beam": 3})
    values = all_options(other)
    assert (values["model_dim"], values["dropout"], values["lr"], values["seed"]) == (64, 0.25, 1e-3, 7)
    assert (values["method"], values["beam"]) == ("autoregressive", 3) and "noise_factor" not in values
    assert all_options(with_values(other, {"method": "difformer"}))["noise_factor"] == 4.0


def test_every_method_ends_with_itself_and_is_named_like_its_file() -> None:
    assert set(methods.names()) >= {"difformer", "autoregressive"} and "method" not in methods.names()
    for name in methods.names():
        options = methods.options(name)
        made = methods.method_for(options)
        assert options.name == name and isinstance(made, Method) and made.options is options
        assert flat(RunConfig(method=options)).get("method", methods.DEFAULT) == name


def test_a_later_option_is_left_out_at_the_value_that_means_as_before() -> None:
    plain = config(order="old")
    assert plain.method == Options(Width(order="old"))
    assert "momentum" not in flat(plain) and "order" not in flat(plain) and flat(plain)["width"] == 4
    assert (all_options(plain)["momentum"], all_options(plain)["order"]) == (0.5, "old")
    for values in ({"momentum": 0.25}, {"order": "new"}):
        changed = with_values(plain, values)
        assert flat(changed) == flat(plain) | values
        assert records.identity(flat(changed), "text") != records.identity(flat(plain), "text")
    assert flat(config())["order"] == "new", "as its default is not what it was without it"


def test_a_record_is_read_back_as_what_it_stands_for(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"test_methods": Options(), **{name: methods.options(name) for name in methods.names()}}
    monkeypatch.setattr(methods, "options", known.__getitem__)
    for values in ({"order": "old"}, {"order": "new"}, {"momentum": 0.25, "order": "old", "seed": 3}):
        chosen = config(**values)
        assert flat(chosen)["method"] == "test_methods"
        assert recorded(flat(chosen)) == chosen
    for other in ({"method": "difformer", "sampler": "ddim"}, {"method": "autoregressive", "beam": 2}):
        chosen = with_values(RunConfig(), other)
        assert recorded(flat(chosen)) == chosen
