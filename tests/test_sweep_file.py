"""Sweep files: their points, in W&B's order, from W&B's distributions; what is wrong is named with its line."""

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import scipy.stats as stats
import yaml
from hypothesis import given
from hypothesis import strategies as st
from standin.sweeps import grid

from core.errors import UserError
from sweeps.wb.sweep_file import SweepFile, check, load, parse
from sweeps.wb.sweep_points import DRAWS, Parameter, parameters, points


def file_of(text: str) -> SweepFile:
    """A sweep file of this text, checked."""
    file = parse(Path("s.yaml"), text)
    check(file)
    return file


def grid_of(text: str) -> list[dict[str, Any]]:
    """The points of a grid over these parameters."""
    return points(file_of(f"method: grid\nparameters: {text}"))


# Grids


def test_a_grid_goes_through_names_in_order_the_last_fastest() -> None:
    found = grid_of("{b: {values: [x, y]}, a: {values: [2, 1]}, c: {value: true}}")
    assert found == [{"a": a, "b": b, "c": True} for a in (2, 1) for b in "xy"]
    assert list(found[0]) == ["a", "b", "c"]


def test_ranges_of_whole_numbers_are_grids_too() -> None:
    assert [p["a"] for p in grid_of("{a: {min: 2, max: 4}}")] == [2, 3, 4]


def test_a_grid_without_measure_is_refused_and_a_cap_makes_it_one() -> None:
    wide = "{a: {min: 0, max: 1000000000}, b: {values: [x, y]}}"
    said = r"s.yaml:2: these are 2,000,000,002 points.*at most 100,000.*`run_cap: N` or --count N"
    with pytest.raises(UserError, match=said):
        grid_of(wide)
    file = file_of(f"method: grid\nparameters: {wide}")
    assert points(file, 3) == [{"a": 0, "b": "x"}, {"a": 0, "b": "y"}, {"a": 1, "b": "x"}]
    with pytest.raises(UserError, match=r"s.yaml:2: .*1,000,000,000 points"):
        points(file_of("method: random\nrun_cap: 1000000000\nparameters: {a: {value: 1}}"))


def test_values_that_are_one_to_wandb_are_tried_once() -> None:
    assert [p["a"] for p in grid_of("{a: {values: [4, 4.0, true, '4', 4]}}")] == [4, True, "4"]


def test_bounds_of_both_kinds_are_a_range_of_real_numbers() -> None:
    file = file_of("method: random\nrun_cap: 20\nparameters: {a: {min: 0, max: 0.5}, b: {min: 0.5, max: 1}}")
    assert {parameter.distribution for parameter in parameters(file)} == {"uniform"}, "as W&B takes them"
    assert all(0 < p["a"] < 0.5 < p["b"] < 1 for p in points(file))


def test_caps() -> None:
    file = file_of("method: grid\nrun_cap: 3\nparameters: {a: {values: [1, 2, 3, 4]}}")
    assert [p["a"] for p in points(file)] == [1, 2, 3]
    assert len(points(file, 2)) == 2 and len(points(file, 9)) == 3


LEAF = st.one_of(
    st.builds(lambda v: {"value": v}, st.integers(0, 3) | st.just(2.0) | st.booleans()),
    st.builds(lambda v: {"values": v}, st.lists(st.text("ab", max_size=2), min_size=1, max_size=3, unique=True)),
    st.builds(lambda low, more: {"min": low, "max": low + more}, st.integers(-2, 2), st.integers(0, 2)),
)
FLAT = st.dictionaries(st.sampled_from(["a", "B", "c_d", "e.f"]), LEAF, min_size=1, max_size=3)


@given(FLAT)
def test_a_grid_has_the_points_that_the_server_gives(tree: dict[str, Any]) -> None:
    content = yaml.dump({"method": "grid", "parameters": tree})  # sorted, as W&B's client sends it
    mine = points(file_of(yaml.dump({"method": "grid", "parameters": tree}, sort_keys=False)))
    assert mine == grid(yaml.safe_load(content)["parameters"])


# Random


RANDOM = """
method: random
run_cap: {cap}
name: {name}
parameters:
  lr: {{distribution: log_uniform_values, min: 1.0e-4, max: 1.0e-1}}
  layers: {{min: 1, max: 4}}
  kind: {{values: [a, b]}}
"""


def test_the_same_file_draws_the_same_points_and_a_larger_cap_adds_to_them() -> None:
    few, many = (points(file_of(RANDOM.format(cap=cap, name=name))) for cap, name in ((5, "x"), (200, "y")))
    assert many[:5] == few and len(many) == 200
    assert Counter(p["layers"] for p in many).keys() == {1, 2, 3, 4}
    assert 60 < Counter(p["kind"] for p in many)["a"] < 140
    other = points(file_of(RANDOM.format(cap=5, name="x").replace("max: 4", "max: 5")))
    assert other != few, "another content is another sweep"


SCIPY: dict[str, tuple[dict[str, float], Any]] = {
    "uniform": ({"min": 2.0, "max": 5.0}, stats.uniform(2, 3)),
    "log_uniform_values": ({"min": 0.01, "max": 10.0}, stats.loguniform(0.01, 10)),
    "int_uniform": ({"min": 3, "max": 7}, stats.randint(3, 8)),
}


@pytest.mark.parametrize("name", SCIPY)
def test_quantiles_are_those_of_scipy(name: str) -> None:
    spec, reference = SCIPY[name]
    for u in (0.013, 0.25, 0.5, 0.77, 0.992):
        assert DRAWS[name](spec, u) == pytest.approx(reference.ppf(u), rel=1e-9)


@given(st.floats(0.001, 0.999))
def test_quantized_ones_are_multiples_whole_if_q_is(u: float) -> None:
    whole, half = (DRAWS["q_log_uniform_values"]({"min": 1.0, "max": 3.0, "q": q}, u) for q in (2, 0.5))
    assert isinstance(whole, int) and whole % 2 == 0
    assert (half / 0.5).is_integer()


def test_every_distribution_can_be_asked_for_by_its_name() -> None:
    said = {"constant": "value: 1", "categorical": "values: [1]"}
    for name in DRAWS:
        rest = said.get(name, "min: 1, max: 2")
        file = file_of(f"method: random\nparameters: {{a: {{distribution: {name}, {rest}}}}}")
        (found,) = parameters(file)
        assert isinstance(found, Parameter) and isinstance(found.draw(0.5), int | float)


# What is wrong


WRONG = {
    "": "mapping with `method`",
    "- 1": "mapping with `method`",
    "method: [": "s.yaml:2: not YAML|s.yaml:1: not YAML",
    "method: grid\nmethod: grid": r"s.yaml:2: `method` stands on line 1 already",
    "method: &a [*a]\n": r"s.yaml:1: not YAML \(`\*a` stands within what it is an alias of\)",
    "method: grid\nparameters: &a\n  <<: *a": r"s.yaml:3: not YAML \(`\*a` stands within",
    "method: grid\nparameters: " + "[" * 100_000: "s.yaml:2: not YAML .nested deeper than 50",
    "method: grid\nparameters: " + "{a: " * 100_000: "s.yaml:2: not YAML .nested deeper than 50",
    "- " * 1000 + "a": "s.yaml:1: not YAML .nested deeper than 50",
    "method: grid\nrun_cap: 1" + ":59" * 100_000: "s.yaml:2: a number of 300,001 characters",
    "method: grid\nrun_cap: 0x" + "f" * 100_000: "s.yaml:2: a number of 100,002 characters",
    "values: [" + "a, " * 30_000 + "]": "s.yaml:1: not YAML .more than 20,000 values",
    "method: grid\nparametres: {}": r"s.yaml:2: unknown key `parametres`. Did you mean 'parameters'",
    "method: bayes\nparameters: {a: {value: 1}}": r"s.yaml:1: method `bayes` needs W&B's server",
    "method: sobol": r"s.yaml:1: `method` must be grid or random; it is 'sobol'",
    "method: grid": "`parameters` must be a mapping, name by name; it is nothing",
    "method: grid\nearly_terminate: {type: hyperband}": "s.yaml:2: `early_terminate` needs W&B's server; .*wandb agent",
    "controller: {type: local}": r"s.yaml:1: `controller` needs W&B's server",
    "job: a/b/c": r"s.yaml:1: `job` needs W&B's server",
    "method: grid\nmetric: {name: x, target: 3}": "s.yaml:2: `target` needs W&B's server",
    "method: grid\nrun_cap: 0\nparameters: {a: {value: 1}}": "s.yaml:2: `run_cap` must be a whole number",
    "method: grid\nparameters: {a: {min: 0, max: "
    + "9" * 40
    + "}}": "s.yaml:2: these are 10,000,000.* points, and at most",
    "method: grid\nparameters: {a: {value: 2020-01-01}}": "s.yaml:2: .*put dates in quotes",
    "method: grid\nparameters: {a: {value: !!bool x}}": "s.yaml:2: `x` is not true or false, as its tag !!bool says",
    "method: grid\nparameters: {a: {value: !!int x}}": "s.yaml:2: `x` is not a number, as its tag !!int says",
    "method: grid\nname: !!float\nparameters: {}": "s.yaml:2: `` is not a number, as its tag !!float says",
    "method: grid\nparameters:\n  a: {value: !!set {x}}": "s.yaml:3: .*neither text nor number",
    "method: grid\nparameters:\n  a: {values: [!secret x]}": "s.yaml:3: .*neither text nor number",
    "method: grid\nparameters:\n  on: {value: 1}": r"s.yaml:3: `on` is true or false to YAML; put it in quotes",
    "method: grid\nparameters:\n  1: {value: 1}": r"s.yaml:3: `1` is a number to YAML; put it in quotes",
    "method: grid\nparameters:\n  a:\n    values:\n    - {b: c, 1: d}": r"s.yaml:5: `1` is a number to YAML",
    "method: grid\nparameters: {[a]: {value: 1}}": "s.yaml:2: .*key",
    "method: grid\nparameters:\n  a: {value: 'b\x07'}": "s.yaml:3: not YAML",
    'method: grid\nparameters:\n  a: {value: "b\\0"}': "s.yaml:3: .*no command line can hold",
    'method: grid\nparameters:\n  a: {value: "\\ud800"}': "s.yaml:3: .*no command line can hold",
    "method: grid\nparameters: {}": "`parameters` must be a mapping, name by name; it is empty",
    "method: grid\nproject: [a]\nparameters: {a: {value: 1}}": "s.yaml:2: `project` must be text; it is a list",
    "method: random\nparameters: {a: {value: 1}}": "s.yaml:1: method random has no end; .*run_cap",
    "method: grid\nparameters:\n  a:\n    min: 0.5\n    max: 1.5": "s.yaml:3: .*a grid cannot go through uniform",
}
BAD_PARAMETERS = {
    "a: [1, 2]": r"`a` must be a mapping, and it is a list; write a: \{values: \[1, 2\]\}",
    "a: 3": r"it is a number; write a: \{value: 3\}",
    "a: {}": "`a` needs `value`, `values`, `min` and `max`, or a `distribution`",
    "a: {values: []}": "a list of at least one value",
    "a: {values: 3}": "a list of at least one value",
    "a: {distribution: [uniform], min: 1, max: 2}": r"unknown distribution \['uniform'\]",
    "a: {min: 1e-4, max: 1.0}": "'1e-4' is text to YAML; write it with a decimal point, e.g. 1.0e-4",
    "a: {min: 3.0, max: 1.0}": "min 3.0 is above max 1.0",
    "a: {distribution: log_uniform_values, min: 0.0, max: 1.0}": "needs a min above 0",
    "a: {distribution: unifrom, min: 1, max: 2}": "unknown distribution 'unifrom'. Did you mean 'uniform'",
    "a: {distribution: normal}": "unknown distribution 'normal'.* Here are constant, categorical, int_uniform",
    "a: {distribution: uniform, min: 1}": "uniform needs `max`",
    "a: {distribution: uniform, min: 1, max: 2, q: 1}": "`q` means nothing to uniform, which knows min, max",
    "a: {distribution: q_log_uniform_values, min: 1, max: 2, q: 0}": "needs a min above 0, and a q above 0",
    "a: {distribution: int_uniform, min: 1.5, max: 3}": "int_uniform needs whole numbers",
    "a: {values: [1, 2], probabilities: [0.5, 0.5]}": "`probabilities` means nothing to categorical",
    "o: {parameters: {b: {value: 3}}}": "`o` needs `value`",
}


@pytest.mark.parametrize("text", WRONG, ids=lambda text: text[:40])
def test_what_is_wrong_is_named_with_its_line(text: str) -> None:
    with pytest.raises(UserError, match=WRONG[text]):
        points(file_of(text))


NAMES = "abcdefghi"
FIRST = "method: grid\na: &a {k: 1, l: 2, m: 3, n: 4, o: 5, p: 6, q: 7, r: 8, s: 9}\n"
LAUGHS = {
    "lists": "{now}: &{now} [{aliases}]",
    "mappings": "{now}: &{now} {{{named}}}",
    "merged": "{now}: &{now} {{<<: [{aliases}]}}",
    "keys": "{now}: &{now} {{? [{aliases}] : 1}}",
}
"""Each line stands for nine times the one before: nine lines for 400 million values."""


@pytest.mark.parametrize("kind", LAUGHS)
def test_aliases_of_aliases_are_counted_before_they_are_followed(kind: str) -> None:
    text = FIRST
    for before, now in itertools.pairwise(NAMES):
        aliases, named = ", ".join([f"*{before}"] * 9), ", ".join(f"k{i}: *{before}" for i in range(9))
        text += LAUGHS[kind].format(now=now, aliases=aliases, named=named) + "\n"
    with pytest.raises(UserError, match=r"^s.yaml:[567]: not YAML .more than 20,000 values, aliases followed"):
        parse(Path("s.yaml"), text)


def test_a_few_aliases_and_merges_are_fine() -> None:
    text = "method: grid\nparameters:\n  a: &a {values: &v [1, 2]}\n  b: {<<: *a}\n  c: {values: *v}"
    assert len(points(file_of(text))) == 8


@pytest.mark.parametrize("text", BAD_PARAMETERS)
def test_a_wrong_parameter_is_named_with_its_line(text: str) -> None:
    with pytest.raises(UserError, match=f"^s.yaml:4: .*{BAD_PARAMETERS[text]}"):
        points(file_of(f"method: random\nrun_cap: 2\nparameters:\n  {text}"))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none.yaml: cannot be read .No such file"):
        load(tmp_path / "none.yaml")
    (tmp_path / "picture.yaml").write_bytes(b"\x89PNG\xff")
    with pytest.raises(UserError, match=r"picture.yaml: is not text"):
        load(tmp_path / "picture.yaml")
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(UserError, match=r"folder.yaml: no regular file"):
        load(tmp_path / "folder.yaml")
    (tmp_path / "large.yaml").write_bytes(b"#" * (2 << 20))
    with pytest.raises(UserError, match=r"large.yaml: more than 1,048,576 bytes"):
        load(tmp_path / "large.yaml")


PROGRAMS = {
    "program: train.py": r"s.yaml:3: its program is not sweeps/arm.py, so .* `wandb agent` with a server runs it",
    "command: [python, train.py]": "s.yaml: its program is not sweeps/arm.py",
    "program: sweeps/arm.py\ncommand: python": "s.yaml:4: `command` must be a list; it is text",
    "program: sweeps/arm.py\ncommand: [sweeps.arm, --updates=3]": r"s.yaml:4: .*\(--updates=3\); an option belongs",
}


@pytest.mark.parametrize("text", PROGRAMS)
def test_programs_and_commands_that_are_not_ours_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(f"method: grid\nparameters: {{a: {{value: 1}}}}\n{text}\n")
    with pytest.raises(UserError, match=PROGRAMS[text]):
        load(tmp_path / "s.yaml")


@pytest.mark.parametrize(
    "text", ["program: sweeps/arm.py", "command: ['${env}', '${interpreter}', -m, sweeps.arm, '${args}']"]
)
def test_ways_to_start_our_program_are_all_fine(text: str, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(f"method: grid\nparameters: {{a: {{value: 1}}}}\n{text}\n")
    assert points(load(tmp_path / "s.yaml")) == [{"a": 1}]
