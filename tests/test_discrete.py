"""What the methods over tokens share: parts of a batch, presets, probes, what the harness asks of a decoding."""

from typing import Any

import pytest
import torch
from parallel import method, network, pairs
from parts import reduced_apart

from ablations import presets
from core import methods
from core.config import RunConfig, all_options, with_values
from core.discrete.rows import repeated, spread
from core.distributed import Ranks
from core.errors import UserError
from core.training.step import reduced, take_part

CASES: list[tuple[str, dict[str, Any]]] = [
    ("cmlm", {}),
    ("cmlm", {"form": "mask_predict", "own_mask": True}),
    ("rdm", {}),
    ("rdm", {"noise": "multinomial"}),
    ("rdm", {"noise_special": True, "mean_over_padding": True, "times_T": True}),
    ("rdm", {"noise": "multinomial", "loss_form": "vanilla", "coupled": False}),
    ("mdlm", {}),
]
NAMES = [" ".join([name, *map(str, values.values())]) for name, values in CASES]


@pytest.mark.parametrize(("name", "values"), CASES, ids=NAMES)
def test_shares_of_processes_add_up_to_the_loss_of_the_whole(name: str, values: dict[str, Any]) -> None:
    made, batch = method(name, **values), pairs(rows=5)
    model = network(made)
    draws = made.draw(model, batch, 1, 0)
    whole = reduced(made.loss(model, batch, draws))
    apart = [made.loss(model, *take_part(Ranks(rank, 2), batch, draws)) for rank in range(2)]
    torch.testing.assert_close(torch.stack(reduced_apart(apart)).sum(), whole)


@pytest.mark.parametrize(("name", "values"), CASES, ids=NAMES)
def test_draws_are_a_function_of_seed_and_step(name: str, values: dict[str, Any]) -> None:
    made, batch = method(name, **values), pairs(rows=5)
    model = network(made)
    first, again, other = (vars(made.draw(model, batch, 1, step)) for step in (3, 3, 4))
    assert all(first[key].equal(again[key]) for key in first)
    assert not all(first[key].equal(other[key]) for key in first)


def test_values_are_put_back_where_they_were_picked() -> None:
    batch = repeated(pairs(), 2)
    values = torch.randn(batch.target.shape)
    for mask in (batch.target > 5, batch.target == 99):
        assert spread(batch, batch.pick(values, mask), mask).equal(torch.where(mask, values, 0.0))
    assert batch.real(batch.target).sort().values.equal(batch.target[batch.target_mask].sort().values)


# What the harness asks


@pytest.mark.parametrize("name", ["cmlm", "rdm", "mdlm"])
def test_the_harness_gets_its_answers(name: str) -> None:
    made = method(name, length_candidates=3, passes=8)
    decoding = made.options.decoding
    assert (made.count(decoding), made.calls(decoding)) == (3, 8)
    assert made.facts(decoding) == {"candidates": "3", "selection": "model", "decoding_steps": 8}
    assert made.choice(decoding, "13a")(["a", "b", "c"], [0.1, 0.3, 0.3]) == 1, "the first of the best"
    assert made.count(made.alone(decoding)) == 1
    fewer = made.with_steps(decoding, 4)
    assert fewer is not None and fewer.passes == 4
    assert (made.with_steps(decoding, 51) is None) == (name == "rdm"), "RDM has T steps at most"
    assert made.validation == type(decoding)()


def test_where_network_calls_are_not_known_before_none_is_said() -> None:
    for name, values in (("cmlm", {"stop_when_same": True}), ("mdlm", {"unmasking": "ancestral"})):
        made = method(name, **values)
        assert made.calls(made.options.decoding) is None


@pytest.mark.parametrize("name", ["cmlm", "rdm", "mdlm"])
@pytest.mark.parametrize(("option", "value"), [("passes", 0), ("least_length", 1), ("length_candidates", 5000)])
def test_decodings_that_cannot_be_are_refused(name: str, option: str, value: int) -> None:
    base = with_values(with_values(RunConfig(), {"method": name}), {option: value})
    with pytest.raises(UserError, match=f"option {option}: {value:,}"):
        base.method.check()


@pytest.mark.parametrize("name", ["cmlm", "rdm", "mdlm"])
def test_a_presets_sizes_are_taken_and_not_the_steps_of_another_method(name: str) -> None:
    values = all_options(presets.get("tiny").config_for(name))
    own = all_options(RunConfig(methods.options(name)))
    assert (values["model_dim"], values["embedding_std"]) == (96, None)
    kept = ("passes", "noise_steps", "chosen_by", "own_mask", "length_offset")
    assert {key: values[key] for key in kept if key in own} == {key: own[key] for key in kept if key in own}
