"""Workspaces and reports."""

import json
from typing import Any

from standin.backend import Backend, operation
from standin.runs import project_of


@operation("ProjectInternalId")
def project_id(backend: Backend, variables: dict[str, Any], query: str) -> dict[str, Any]:
    """The id that a view belongs to."""
    return {"project": project_of(variables) | {"internalId": "cA=="}}


@operation("UpsertView2")
def upsert(backend: Backend, variables: dict[str, Any], query: str) -> dict[str, Any]:
    """A workspace or report is saved."""
    name = variables.get("name") or f"view{len(backend.views):03d}"
    spec = variables.get("spec")
    backend.views[name] = {**variables, "spec": json.loads(spec) if isinstance(spec, str) else spec}
    view = {"id": "dmlldw==", "name": name, "type": variables.get("type"), "spec": spec}
    return {"upsertView": {"view": view, "inserted": True}}
