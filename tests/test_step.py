"""Updates over fixed shapes, captured or compiled: the same losses, gradients and weights as of those as written."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch._dynamo.exc import TorchDynamoException
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from ablations import presets
from core import methods
from core.config import RunConfig, all_options, with_values
from core.diffusion.draws import Draws
from core.distributed import ALONE, Ranks
from core.errors import UserError
from core.evaluator import new_network
from core.measuring.rates import random_text
from core.methods import method_for
from core.networks import compiling
from core.networks.recording import recorder_of_graphs, rerun
from core.text.batches import BatchStream
from core.text.materials import prepare
from core.text.shapes import MOST, PADDING, Shape, fill, fitting, groupings, shapes_of
from core.training import step_modes
from core.training.fixed_step import FixedStep
from core.training.optimizer import optimizer_for
from core.training.step import Step, Update, reduced
from core.training.step_modes import PAYS

CPU = torch.device("cpu")


def config(method: str, **values: Any) -> RunConfig:
    base = presets.get("smoke").config_for(method)
    off = {"dropout": 0.0} if "dropout" in all_options(base) else {}
    return with_values(base, {**off, "batch_tokens": 256, **values})


CASES = [config(name) for name in methods.names()]
CASES += [config("difformer", token_loss="rounding", self_conditioning=False), config("difformer", token_loss="none")]
NAMES = [*methods.names(), "rounding", "no token loss"]


def begin(
    kind: type[Step], chosen: RunConfig, device: torch.device = CPU, **more: Any
) -> tuple[Any, BatchStream, Step]:
    """A fresh network, its text and its step."""
    text = prepare(chosen.data)
    network = new_network(chosen, method_for(chosen.method), text, device).train()
    stream = BatchStream(text.train, chosen.training.batch_tokens, chosen.seed)
    if kind is FixedStep:
        more = {"shapes": shapes_of(stream), "recorder": rerun} | more
    optimizer = optimizer_for(network, chosen.training)
    return network, stream, kind(network, method_for(chosen.method), optimizer, chosen, **more)


@pytest.mark.parametrize("chosen", CASES, ids=NAMES)
def test_twenty_updates_agree_with_those_of_batches_of_any_shape(chosen: RunConfig) -> None:
    network, stream, step = begin(Step, chosen)
    fixed_network, _, fixed_step = begin(FixedStep, chosen)
    for index in range(20):
        batch = stream.at(index)
        one, other = step(batch, index), fixed_step(batch, index)
        torch.testing.assert_close(other.loss, one.loss, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(other.norm, one.norm, rtol=3e-3, atol=1e-5)
        assert_same_rows(one, other)
    # Adam makes rounding large where a gradient is small, so not each weight agrees, but what was learned does.
    learned, apart = moved(network, begin(Step, chosen)[0]), moved(fixed_network, network)
    assert apart < 0.01 * learned
    assert isinstance(fixed_step, FixedStep)
    assert any(held.again for held in fixed_step.held.values()), "a shape came twice, so its tensors were used again"


@torch.no_grad()
def moved(one: nn.Module, other: nn.Module) -> float:
    """How far two networks' weights are apart. Without the biases of keys: attention does not depend on them, so their
    gradient is rounding alone."""
    pairs = zip(one.named_parameters(), other.parameters(), strict=True)
    gaps = [(a - b).square().sum() for (name, a), b in pairs if not name.endswith("kv.bias")]
    return float(torch.stack(gaps).sum().sqrt())


@torch.no_grad()
def assert_same_rows(one: Update, other: Update) -> None:
    """What is logged agrees."""
    mine, theirs = one.made.watched(), other.made.watched()
    assert mine.keys() == theirs.keys()
    for name, term in mine.items():
        assert int(theirs[name].count()) == int(term.count())
        torch.testing.assert_close(theirs[name].mean(), term.mean(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("chosen", CASES, ids=NAMES)
def test_gradients_agree_whatever_stands_in_rows_that_are_no_sentences(chosen: RunConfig) -> None:
    network, stream, step = begin(Step, chosen)
    batch, method = stream.at(0), step.method
    draws = method.draw(network, batch, 1, 0)
    if isinstance(draws, Draws):
        draws = replace(draws, coin=True)
    reduced(method.loss(network, batch, draws)).backward()
    wanted = {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
    network.zero_grad()
    shape = Shape(batch.target.shape[1] + 5, len(batch.target) + 3)
    reduced(method.loss(network, fill(batch, shape), draws.filled(shape.rows, shape.length))).backward()
    for name, p in network.named_parameters():
        if p.grad is not None or name in wanted:
            torch.testing.assert_close(p.grad, wanted[name], rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("chosen", CASES, ids=NAMES)
def test_the_host_waits_for_no_tensor_in_an_update(chosen: RunConfig) -> None:
    """Fake tensors have no values: whatever asks for one, or for a number of elements that depends on one, fails."""
    _, stream, step = begin(FixedStep, chosen)
    assert isinstance(step, FixedStep)
    batch = stream.at(0)
    draws = step.method.draw(step.network, batch, 1, 0)
    shape = fitting(batch, step.shapes)
    with FakeTensorMode(allow_non_fake_inputs=True):
        made = step.method.loss(step.network, fill(batch, shape), draws.filled(shape.rows, shape.length))
        reduced(made).backward()
        with pytest.raises(DataDependentOutputException):
            made.terms["token"].mean().item()


def test_an_update_that_cannot_be_captured_is_run_as_it_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    config_of = config("difformer", dropout=0.2)
    _, stream, step = begin(FixedStep, config_of)
    _, _, other = begin(FixedStep, config_of)
    assert isinstance(step, FixedStep)
    step.recorder = refused
    for index in range(8):
        assert step(stream.at(0), index).loss.equal(other(stream.at(0), index).loss)
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "cannot be captured (operation not permitted when stream is capturing)" in said


def refused(update: Callable[[], Update]) -> Callable[[], Update]:
    raise RuntimeError("operation not permitted when stream is capturing\nand more lines")


@pytest.mark.parametrize("name", ["difformer", "autoregressive"])
def test_what_cannot_be_compiled_is_run_as_it_is_written(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compiling.torch, "compile", failing)
    monkeypatch.setattr(compiling, "MADE", {})
    chosen_config = config(name, dropout=0.2)
    network, stream, step = begin(Step, chosen_config, compiling=True)
    other_network, _, other = begin(Step, chosen_config)
    for index in range(3):
        assert step(stream.at(index), index).loss.equal(other(stream.at(index), index).loss)
    assert all(network.state_dict()[name].equal(value) for name, value in other_network.state_dict().items())
    assert capsys.readouterr().err == "step compiled: torch.compile failed (no compiler); it goes on without\n"


def failing(function: Any, dynamic: bool) -> Any:
    def call(*_: Any, **__: Any) -> Any:
        raise TorchDynamoException("no compiler\nand more lines")

    return call


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler: g++")
@pytest.mark.parametrize("kind", [Step, FixedStep])
def test_compiled_updates_agree_with_those_as_written(kind: type[Step]) -> None:
    _, stream, step = begin(Step, CASES[1])
    _, _, compiled = begin(kind, CASES[1], compiling=True)
    for index in range(12):
        one, other = step(stream.at(index), index), compiled(stream.at(index), index)
        torch.testing.assert_close(other.loss, one.loss, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(other.norm, one.norm, rtol=1e-4, atol=1e-6)
    assert compiled.compiling, "nothing failed"


GPU = torch.device("cuda")


@pytest.mark.parametrize(
    ("asked", "device", "size", "work", "found"),
    [
        ("auto", CPU, 1, 1e18, "eager"),
        ("graph", CPU, 1, 1e18, "eager"),
        ("compiled", CPU, 1, 0, "compiled"),
        ("auto", GPU, 1, PAYS / 2, "graph"),
        ("auto", GPU, 1, PAYS * 2, "compiled"),
        ("eager", GPU, 1, PAYS * 2, "eager"),
        ("auto", GPU, 2, PAYS / 2, "eager"),
        ("auto", GPU, 2, PAYS * 2, "compiled"),
    ],
)
def test_how_a_step_is_run(asked: Any, device: torch.device, size: int, work: float, found: str) -> None:
    mode, why = step_modes.chosen(asked, device, Ranks(0, size), work)
    assert mode == found
    assert bool(why) == (size > 1 or (asked == "graph" and device == CPU)), "said where it is not what was asked for"
    with pytest.raises(UserError, match="option step: 'graf' is none of auto, eager, graph, compiled"):
        step_modes.chosen("graf", CPU, ALONE, 0.0)  # type: ignore[arg-type]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("chosen_config", CASES, ids=NAMES)
def test_captured_updates_agree_with_those_as_written(chosen_config: RunConfig) -> None:
    _, stream, step = begin(Step, chosen_config, device=GPU)
    _, _, graphed = begin(FixedStep, chosen_config, device=GPU, recorder=recorder_of_graphs())
    assert isinstance(graphed, FixedStep)
    with graphed.apart():
        for index in range(20):
            one, other = step(stream.at(index), index), graphed(stream.at(index), index)
            torch.testing.assert_close(other.loss, one.loss, rtol=1e-3, atol=1e-4)
            assert_same_rows(one, other)
    assert graphed.recorder is not rerun and any(held.again for held in graphed.held.values())


LENGTHS = st.lists(st.tuples(st.integers(2, 60), st.integers(1, 90)), min_size=1, max_size=40)


@given(LENGTHS)
def test_shapes_hold_every_batch_and_more_of_them_pad_less(batches: list[tuple[int, int]]) -> None:
    longest, rows = np.array(batches).T
    before = None
    for shapes, positions in groupings(longest, rows):
        held = [min(shape for shape in shapes if shape.length >= n and shape.rows >= r) for n, r in batches]
        assert sum(shape.length * shape.rows for shape in held) <= positions
        assert before is None or positions <= before
        before = positions
    assert len(shapes) <= len(set(longest.tolist()))


def test_an_epoch_of_captions_has_few_shapes_and_little_padding() -> None:
    encoded = random_text(8000, 20000)
    stream = BatchStream(encoded, 4096, 1)
    shapes = shapes_of(stream)
    used = [fitting(stream.at(step), shapes) for step in range(2 * len(stream))]
    positions = sum(shape.rows * shape.length for shape in used[: len(stream)])
    least = sum(max(b.source.shape[1], b.target.shape[1]) * len(b.target) for b in map(stream.at, range(len(stream))))
    real = (encoded.source.lengths.sum() + encoded.target.lengths.sum()) / 2
    assert len(shapes) <= MOST and set(used) <= set(shapes)
    assert positions <= max(real / (1 - PADDING), 1.02 * least)
