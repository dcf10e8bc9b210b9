"""What W&B's packages do not promise to keep stands in one file, sweeps/wb/private.py."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeps.wb.private import CHECKED

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / "sweeps" / "wb" / "private.py"
PROMISED = ("wandb", "wandb_workspaces.expr", "wandb_workspaces.reports.v2", "wandb_workspaces.workspaces")
"""The modules that W&B documents."""
NEAR = ("sweeps/wb/", "sweeps/dashboards/")
"""Where objects of theirs are handled: no private attribute of anything but an own object there."""


def private_names(source: str, near: bool) -> Iterator[str]:
    """Modules of W&B's that are none of those promised; x_ settings; where objects are near, private attributes."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if unpromised(alias.name))
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ([node.module] if unpromised(node.module) and node.module != "wandb_workspaces" else [])
            yield from (f"{node.module}.{a.name}" for a in node.names if inner(f"{node.module}.{a.name}"))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            setting = near and node.value.startswith("x_")
            yield from [node.value] if setting or node.value.startswith(("wandb.", "wandb_workspaces.")) else []
        elif near and isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.endswith("__"):
            yield from [] if ast.unparse(node.value) in ("self", "cls") else [f"{ast.unparse(node.value)}.{node.attr}"]


def unpromised(module: str) -> bool:
    """Whether a module is W&B's and none of those that it documents."""
    return module.split(".")[0] in ("wandb", "wandb_workspaces") and module not in PROMISED


def inner(name: str) -> bool:
    """Whether what is imported from a module is an inner module of W&B's (or a private name)."""
    words = name.split(".")
    return words[0] in ("wandb", "wandb_workspaces") and bool({"internal", "sdk", "proto", "apis", "errors"} & {*words})


def found_in(path: Path) -> list[str]:
    """The private names that a file uses."""
    near = str(path.relative_to(ROOT)).startswith(NEAR)
    return list(private_names(path.read_text("utf-8"), near))


def test_private_names_of_wandb_stand_in_one_file() -> None:
    files = [path for folder in ("core", "ablations", "sweeps", "analysis") for path in (ROOT / folder).rglob("*.py")]
    assert {str(path.relative_to(ROOT)): found for path in files if path != HOME and (found := found_in(path))} == {}
    assert len(found_in(HOME)) > 8


def test_it_was_checked_on_the_versions_of_the_lock() -> None:
    lines = (ROOT / "requirements.txt").read_text("utf-8").splitlines()
    assert all(f"{name}=={version}" in lines for name, version in CHECKED.items()), "try it on the new version"


@pytest.mark.parametrize(
    "line",
    [
        "from wandb.proto import wandb_internal_pb2",
        "import wandb.sdk",
        "from wandb import sdk",
        "import_module('wandb.proto.wandb_internal_pb2')",
        "from wandb_workspaces.workspaces import internal",
        "settings = {'x_disable_stats': True}",
        "view._to_model()",
        "run._interface.publish()",
    ],
)
def test_such_a_line_would_be_seen(line: str) -> None:
    assert list(private_names(line, near=True))
    assert not list(
        private_names("import wandb\nfrom wandb_workspaces import expr\nself._line(wandb.init())", near=True)
    )
