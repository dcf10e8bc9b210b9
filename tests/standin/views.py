"""Workspaces and reports (both are views), and the projects they belong to."""

import json
from typing import Any

from standin.backend import ENTITY, Backend, operation


def known(backend: Backend) -> set[str]:
    """The projects: those made, and those of the runs."""
    return backend.projects | {str(run["project"]) for run in backend.runs.values() if "project" in run}


@operation("GetProjects")
def projects(backend: Backend, variables: dict[str, Any], query: str) -> dict[str, Any]:
    """All projects on one page."""
    nodes = [
        {"__typename": "Project", "id": name, "name": name, "entityName": ENTITY, "createdAt": "2026-01-01T00:00:00Z"}
        | {"isBenchmark": False, "user": None}
        for name in sorted(known(backend))
    ]
    page = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
    return {"models": {"pageInfo": page, "edges": [{"node": node} for node in nodes]}}


@operation("CreateProject")
def create_project(backend: Backend, variables: dict[str, Any], query: str) -> dict[str, Any]:
    """A project is made."""
    backend.projects.add(variables["input"]["name"])
    return {"result": {"project": None, "model": None, "inserted": True}}


@operation("ProjectInternalId")
def project_id(backend: Backend, variables: dict[str, Any], query: str) -> dict[str, Any]:
    """The id that a run set belongs to; nothing for a project that is not there."""
    name = variables["projectName"]
    return {"project": {"id": name, "internalId": "cA=="} if name in known(backend) else None}


@operation("UpsertView2", "upsertView")
def upsert(backend: Backend, variables: dict[str, Any], query: str) -> dict[str, Any]:
    """A workspace or report is saved: the one of that id, or a new one whatever its name."""
    key = variables.get("id") or f"id{len(backend.views):03d}"
    inserted = key not in backend.views
    backend.views[key] = {**variables, "id": key, "spec": json.loads(variables["spec"])}
    shown = {k: variables.get(k) for k in ("name", "displayName", "description", "type", "spec")}
    project = {"id": "p", "name": variables["projectName"], "entityName": variables["entityName"]}
    view = shown | {"id": key, "project": project, "updatedAt": "2026-01-01T00:00:00Z"}
    return {"upsertView": {"view": view, "inserted": inserted}}


@operation("View", "ProjectViews")
def find(backend: Backend, variables: dict[str, Any], query: str) -> dict[str, Any]:
    """The views of a project that are of a type and, if one is asked for, of a name."""
    kind, name = variables.get("viewType") or "runs", variables.get("viewName")
    found = [v for v in backend.views.values() if v["type"] == kind and name in (None, v["name"])]
    keys = ("id", "name", "displayName", "description")
    nodes = [{k: v.get(k) for k in keys} | {"spec": json.dumps(v["spec"])} for v in found]
    edges = [{"node": node | {"user": None}, "cursor": node["id"]} for node in nodes]
    page = {"endCursor": None, "hasNextPage": False}
    return {"project": {"allViews": {"edges": edges, "pageInfo": page}}}
