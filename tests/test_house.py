"""The house rules: one environment in three files, imports in one direction, options documented."""

import ast
import dataclasses
import graphlib
import inspect
import itertools
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, packages_distributions, requires, version
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from core import methods
from core.config import RunConfig
from core.options import fields_of, is_section

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("core", "ablations", "sweeps", "analysis")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PYTHONS = ("3.11", "3.12", "3.13")


# One environment


def declared() -> list[Requirement]:
    """What pyproject.toml asks for, extras and tests included."""
    extras = [line for lines in PROJECT["optional-dependencies"].values() for line in lines]
    return [Requirement(line) for line in PROJECT["dependencies"] + extras]


def imports_may_need() -> set[str]:
    """The packages that the project's modules may import: what only tests and checks use is none of them."""
    aside = {Requirement(line).name for line in PROJECT["optional-dependencies"]["dev"]}
    return {canonicalize_name(wanted.name) for wanted in declared() if wanted.name not in aside}


def test_optional_parts_are_no_dependency() -> None:
    optional = {"psycopg", "psycopg-binary", "pymysql", "grpcio", "optuna-dashboard", "wandb-workspaces"}
    assert optional <= imports_may_need()
    assert not optional & {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]}


def locked() -> dict[str, Requirement]:
    """The lines of requirements.txt by package."""
    lines = [line.split(" #")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines()]
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    assert len({canonicalize_name(pin.name) for pin in pins}) == len(pins), "a package is pinned twice"
    return {canonicalize_name(pin.name): pin for pin in pins}


def pinned(pin: Requirement) -> str:
    """The version of a line name==version."""
    (spec,) = pin.specifier
    assert spec.operator == "==" and "*" not in spec.version, f"{pin} is not an exact pin"
    return spec.version


@pytest.mark.parametrize("wanted", declared(), ids=lambda wanted: wanted.name)
def test_the_lock_satisfies_pyproject(wanted: Requirement) -> None:
    pin = locked().get(canonicalize_name(wanted.name))
    assert pin is not None, f"{wanted.name} is not in requirements.txt"
    assert wanted.specifier.contains(pinned(pin)), f"{pin} is outside pyproject's {wanted}"


def test_torch_is_pinned_and_its_cuda_packages_are_left_to_it() -> None:
    assert pinned(locked()["torch"]) == "2.13.0"
    assert not [name for name in locked() if name.startswith(("nvidia", "cuda", "triton"))]


def needed_by(name: str) -> Iterator[str]:
    """What an installed package needs, its optional extras aside."""
    for line in requires(name) or ():
        need = Requirement(line)
        if need.marker is None or need.marker.evaluate({"extra": ""}):
            yield canonicalize_name(need.name)


def test_the_lock_is_complete_and_has_nothing_idle() -> None:
    pins = locked()
    other = [
        n for n, p in pins.items() if not installed_as_locked(n, pinned(p)) and (not p.marker or p.marker.evaluate())
    ]
    if other:
        pytest.skip(f"this environment is not the lock's: {', '.join(other)}")
    reached: set[str] = set()
    waiting: list[str] = [canonicalize_name(wanted.name) for wanted in declared()]
    while waiting:
        name = waiting.pop()
        if name not in reached and not name.startswith(("nvidia", "cuda", "triton")):
            reached.add(name)
            waiting += needed_by(name)
    assert reached == {name for name, pin in pins.items() if not pin.marker or pin.marker.evaluate()}


def installed_as_locked(name: str, wanted: str) -> bool:
    """Whether this environment has that version (a local part such as +cpu aside)."""
    try:
        return version(name).split("+")[0] == wanted
    except PackageNotFoundError:
        return False


def test_conda_gets_the_lock_and_a_python_in_range() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["name"] == PROJECT["name"]
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert pip == ["-r requirements.txt"]
    conda = dict(entry.partition("=")[::2] for entry in environment["dependencies"] if isinstance(entry, str))
    assert conda["python"] in SpecifierSet(PROJECT["requires-python"])
    assert not {canonicalize_name(name) for name in conda} & set(locked()), "conda and pip would both install it"


def test_the_pythons_are_the_same_everywhere() -> None:
    assert [p for p in (f"3.{minor}" for minor in range(20)) if p in SpecifierSet(PROJECT["requires-python"])] == list(
        PYTHONS
    )
    setup, check = ((ROOT / ".ci" / name).read_text() for name in ("setup.sh", "check_python.py"))
    assert all(f"python{python}" in setup for python in PYTHONS)
    assert all("(3, 11) <= sys.version_info[:2] <= (3, 13)" in text for text in (setup, check))


def test_citation_licence_and_changelog_name_the_package_as_it_is() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (cited["title"], cited["version"], cited["license"]) == tuple(
        PROJECT[key] for key in ("name", "version", "license")
    )
    assert f"the authors of {PROJECT['name']}" in (ROOT / "LICENSE").read_text()
    assert f"## [{PROJECT['version']}]" in (ROOT / "CHANGELOG.md").read_text()


# One direction


def sources(package: str) -> list[Path]:
    """The modules of a package."""
    return sorted((ROOT / package).rglob("*.py"))


def imported(text: str) -> set[str]:
    """Full names of the modules a source imports, at any depth, those inside functions included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name the package in full"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def within(name: str, module: str) -> bool:
    """Whether an imported name is a module or lies in it."""
    return f"{name}.".startswith(f"{module}.")


FORBIDDEN = {
    "core": ("ablations", "sweeps", "analysis", "wandb", "optuna", "pandas", "matplotlib", "seaborn"),
    "ablations": ("sweeps", "analysis", "wandb", "optuna"),
    "sweeps": (),
    "analysis": ("ablations", "sweeps", "wandb", "optuna", "core"),
}
ALLOWED = {"analysis": ("core.errors", "core.reading", "core.run_folder", "core.display", "core.watching")}


def breaches(package: str, text: str) -> set[str]:
    """The imports of a source that its package must not have."""
    allowed = ALLOWED.get(package, ())
    return {
        name
        for name in imported(text)
        if any(within(name, module) for module in FORBIDDEN[package])
        and not any(within(name, module) for module in allowed)
    }


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_go_one_way(package: str) -> None:
    assert sources(package)
    found = {str(path.relative_to(ROOT)): breaches(package, path.read_text("utf-8")) for path in sources(package)}
    assert {path: names for path, names in found.items() if names} == {}


def test_a_breach_would_be_seen() -> None:
    assert breaches("core", "def f():\n    import wandb.sdk") == {"wandb.sdk"}
    assert breaches("core", "import torch, wandbox\nfrom core import config") == set()
    assert breaches("analysis", "from core import errors, config\nfrom core.errors import UserError") == {"core.config"}


# Commands on top, and one place for what acts on the process


TEXTS = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path.read_text("utf-8")
    for package in PACKAGES
    for path in sources(package)
}
"""Each module by its full name."""
ON_COMMANDS = {("sweeps.arm", "sweeps.mirror")}
"""Who imports a command all the same."""


def test_nothing_in_sweeps_imports_a_command() -> None:
    commands = [name for name, text in TEXTS.items() if name.startswith("sweeps.") and "\nif __name__ ==" in text]
    assert {"sweeps.study", "sweeps.search", "sweeps.worker"} <= set(commands)
    names = {name: imported(text) for name, text in TEXTS.items()}
    found = {(name, one) for name, ones in names.items() for one in commands if any(within(n, one) for n in ones)}
    assert found - ON_COMMANDS == set()


def test_what_acts_on_the_whole_process_stands_in_one_place() -> None:
    """Handlers of signals, and the hook for what nobody caught."""
    found = {name for name, text in TEXTS.items() if re.search(r"\bsignal\.signal\(|excepthook = ", text)}
    assert found == {"core.signals", "core.errors"}


def modules_of(text: str) -> set[str]:
    """The modules of ours that a source imports."""
    return {next((m for m in (name, name.rpartition(".")[0]) if m in TEXTS), "") for name in imported(text)} - {""}


def room_of(module: str) -> str:
    """The folder within a package that a module lies in; of what lies on top, the module."""
    return ".".join(module.split(".")[:2])


@pytest.mark.parametrize("node", [str, room_of], ids=["files", "folders"])
def test_imports_have_no_circle(node: Callable[[str], str]) -> None:
    graph: dict[str, set[str]] = {}
    for name, text in TEXTS.items():
        graph.setdefault(node(name), set()).update(node(one) for one in modules_of(text))
    assert {"sweeps.running", "core.diffusion"} <= set(graph) or "core.config" in graph
    graphlib.TopologicalSorter({name: ones - {name} for name, ones in graph.items()}).prepare()


PRIVATE_OF_OPTUNA = "sweeps.running.optuna_private"


def optuna_privates(text: str) -> set[str]:
    """What a source uses of Optuna's private names and experimental classes, and of the methods of storages."""
    experimental = ("JournalStorage", "JournalFileBackend", "JournalRedisBackend", "GrpcStorageProxy", "WilcoxonPruner")
    calls = ("create_new_trial", "get_all_trials", "set_trial_", "set_study_", "get_trial_id", "get_study_id")
    theirs = {name for name in imported(text) if within(name, "optuna") or within(name, "optuna_dashboard")}
    found = {name for name in theirs if name.split(".")[-1].startswith("_")}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and not node.attr.endswith("__"):
            private = node.attr.startswith("_") and ast.unparse(node.value) not in ("self", "cls")
            found |= {node.attr} if private or node.attr.startswith(calls) else set()
    return found | {name for name in imported(text) if name.split(".")[-1] in experimental}


def test_what_optuna_does_not_promise_stands_in_one_file() -> None:
    assert len(optuna_privates(TEXTS[PRIVATE_OF_OPTUNA])) > 10
    near = [name for name, text in TEXTS.items() if any(within(one, "optuna") for one in imported(text))]
    assert len(near) > 10
    assert {name: found for name in near if (found := optuna_privates(TEXTS[name])) and name != PRIVATE_OF_OPTUNA} == {}
    assert f'CHECKED = "{pinned(locked()["optuna"])}"' in TEXTS[PRIVATE_OF_OPTUNA], "try it on the new version"


def test_what_is_imported_is_declared() -> None:
    names = {
        name.split(".")[0] for package in PACKAGES for p in sources(package) for name in imported(p.read_text("utf-8"))
    }
    distributions = packages_distributions()
    outside = names - set(sys.stdlib_module_names) - set(PACKAGES)
    needed = {name: {canonicalize_name(d) for d in distributions.get(name, [name])} for name in outside}
    assert {name for name, providers in needed.items() if not providers & imports_may_need()} == set()


# Nothing of one machine


def project_files() -> list[Path]:
    """The files of the project: git's, or without git all but what is generated."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True
    )
    if listed.returncode == 0:
        return [ROOT / name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]
    folders = (*PACKAGES, "tests", ".ci")
    return [p for p in [*ROOT.glob("*"), *(p for f in folders for p in (ROOT / f).rglob("*"))] if p.is_file()]


# Written apart, so that this file passes its own test.
HOMES = "|".join(["wor" + "k", "roo" + "t", "hom" + "e", "User" + "s", "mn" + "t"])
HOSTS = "|".join([r"pypi\." + "org", "pytho" + r"nhosted\.org", r"download\." + "pytorch", "anaconda" + r"\.(org|com)"])
MACHINE = re.compile(rf"(?<![\w.])/(?:{HOMES})/\w|{HOSTS}|--(extra-)?index-url +http")


def test_no_path_of_a_machine_and_no_registry_host() -> None:
    found = []
    for path in project_files():
        try:
            lines = path.read_text("utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}:{n}: {line}" for n, line in enumerate(lines, 1) if MACHINE.search(line)]
    assert found == []


@pytest.mark.parametrize("line", ["see /" + "home/me/x", "'/ro" + "ot/y'", "--index-url " + "https://mirror/simple"])
def test_such_a_line_would_be_seen(line: str) -> None:
    assert MACHINE.search(line)
    assert not MACHINE.search("../shared/data and a/homework/b")


# Options documented in place


def sections(options: Any) -> Iterator[Any]:
    """The groups of options in these, and these themselves."""
    yield options
    for field in dataclasses.fields(options):
        if is_section(value := getattr(options, field.name)):
            yield from sections(value)


def documented(kind: type) -> set[str]:
    """The fields of a dataclass and of those it is made of that have a docstring."""
    found = set()
    for each in filter(dataclasses.is_dataclass, kind.__mro__):
        (node,) = ast.parse(inspect.getsource(each)).body
        assert isinstance(node, ast.ClassDef)
        for statement, following in itertools.pairwise(node.body):
            if isinstance(statement, ast.AnnAssign) and isinstance(following, ast.Expr):
                text = following.value
                if isinstance(text, ast.Constant) and isinstance(text.value, str):
                    found.add(ast.unparse(statement.target))
    return found


@pytest.mark.parametrize("method", methods.names())
def test_every_option_has_a_docstring(method: str) -> None:
    config = RunConfig(method=methods.options(method))
    names = {field.name for field, _ in fields_of(config)}
    assert "updates" in names
    assert names - set().union(*(documented(type(section)) for section in sections(config))) == set()


@pytest.mark.parametrize("method", methods.names())
def test_option_names_are_unique(method: str) -> None:
    names = [field.name for field, _ in fields_of(RunConfig(method=methods.options(method)))]
    assert sorted(names) == sorted(set(names)) and "method" not in names
