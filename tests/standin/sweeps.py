"""Sweeps and their agents: the points of a grid, one for each heartbeat of an agent that has nothing to do.

Written without a look at the project's own points, so that it can be compared with them.
"""

import itertools
import json
from collections.abc import Iterator
from typing import Any

import yaml

from standin.backend import Backend, operation
from standin.runs import project_of


def flattened(parameters: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], list[Any]]]:
    """Each parameter's names from the top and its values, in the server's order: by name, level by level."""
    for name in sorted(parameters):
        spec, path = parameters[name], (*above, name)
        if "parameters" in spec:
            yield from flattened(spec["parameters"], path)
        elif "min" in spec:
            yield path, list(range(spec["min"], spec["max"] + 1))
        else:
            yield path, spec["values"] if "values" in spec else [spec["value"]]


def plain(value: Any) -> Any:
    """A number without its point where nothing stands behind it: so it comes back from the server."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def grid(parameters: dict[str, Any]) -> list[dict[str, Any]]:
    """All points of a grid; a nested parameter is one value, a mapping."""
    paths, choices = zip(*flattened(parameters), strict=True)
    found = []
    for row in itertools.product(*choices):
        point: dict[str, Any] = {}
        for (*above, name), value in zip(paths, row, strict=True):
            level = point
            for step in above:
                level = level.setdefault(step, {})
            level[name] = plain(value)
        found.append(point)
    return found


@operation("UpsertSweep")
def upsert(backend: Backend, variables: dict[str, Any], query: str) -> dict[str, Any]:
    """A sweep is registered. Only grids have points here; others are known, and their agents are sent home."""
    config = yaml.safe_load(variables["config"])
    sweep_id = f"sweep{len(backend.sweeps):03d}"
    backend.sweeps[sweep_id] = {
        "id": sweep_id,
        "config": variables["config"],
        "method": config["method"],
        "program": config.get("program"),
        "queue": grid(config["parameters"]) if config["method"] == "grid" else [],
        "state": "RUNNING",
    }
    sweep = {"name": sweep_id, "project": project_of(variables)}
    return {"upsertSweep": {"sweep": sweep, "configValidationWarnings": []}}


@operation("SweepWithRuns")
def with_runs(backend: Backend, variables: dict[str, Any], query: str) -> dict[str, Any]:
    """A sweep as an agent asks for it."""
    sweep = backend.sweeps[variables["sweep"]]
    found = {"id": sweep["id"], "name": sweep["id"], "method": sweep["method"], "state": sweep["state"]}
    return {"project": {"sweep": found | {"config": sweep["config"], "runs": {"edges": []}}}}


@operation("CreateAgent")
def create_agent(backend: Backend, variables: dict[str, Any], query: str) -> dict[str, Any]:
    """An agent joins."""
    agent = f"agent{len(backend.agents):03d}"
    backend.agents[agent] = variables["sweep"]
    return {"createAgent": {"agent": {"id": agent}}}


@operation("Heartbeat")
def heartbeat(backend: Backend, variables: dict[str, Any], query: str) -> dict[str, Any]:
    """The next point for an idle agent, or the order to leave."""
    sweep = backend.sweeps[backend.agents[variables["id"]]]
    commands = [] if json.loads(variables.get("runState") or "{}") else next_commands(sweep)
    return {"agentHeartbeat": {"agent": {"id": variables["id"]}, "commands": json.dumps(commands)}}


def next_commands(sweep: dict[str, Any]) -> list[dict[str, Any]]:
    """One command."""
    if not sweep["queue"]:
        sweep["state"] = "FINISHED"
        return [{"type": "exit", "id": "exit"}]
    point = sweep["queue"].pop(0)
    run = f"{sweep['id']}-{len(sweep['queue']):02d}"
    ids = dict.fromkeys(("id", "run_id", "run_name", "run_storage_id"), run)
    args = {k: {"value": v, "desc": None} for k, v in point.items()}
    return [{"type": "run", **ids, "program": sweep["program"], "args": args}]
