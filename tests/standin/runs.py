"""Who asks, what the server can do, and runs."""

import json
from typing import Any

from standin.backend import ENTITY, PROJECT, Backend, operation

KEPT = ("groupName", "jobType", "tags", "displayName", "sweep", "state")


def project_of(variables: dict[str, Any]) -> dict[str, Any]:
    """The project that a request names."""
    name = variables.get("projectName") or variables.get("project") or PROJECT
    return {"id": "p", "name": name, "entity": {"id": "e", "name": ENTITY}}


@operation("Viewer", "GetViewer", "GetDefaultEntity")
def viewer(backend: Backend, variables: dict[str, Any], query: str) -> dict[str, Any]:
    """The user."""
    nothing: dict[str, Any] = {"edges": []}
    user = {"id": "u", "entity": ENTITY, "username": ENTITY, "name": ENTITY, "email": "", "admin": False}
    user |= {"flags": "{}", "deletedAt": None, "apiKeys": nothing, "teams": nothing, "defaultEntity": {"name": ENTITY}}
    return {"viewer": user}


@operation("ServerFeaturesQuery")
def features(backend: Backend, variables: dict[str, Any], query: str) -> dict[str, Any]:
    """No features beyond the oldest."""
    return {"serverInfo": {"features": []}}


@operation("ServerInfo")
def info(backend: Backend, variables: dict[str, Any], query: str) -> dict[str, Any]:
    """Any client is new enough."""
    return {"serverInfo": {"cliVersionInfo": {"max_cli_version": "99.0.0"}, "latestLocalVersionInfo": None}}


@operation("OrgFeatureFlags", "OrganizationCoreWeaveOrganizationID")
def organization(backend: Backend, variables: dict[str, Any], query: str) -> dict[str, Any]:
    """No organization."""
    return {"organization": {"featureFlags": []}, "entity": {"organization": None}}


@operation("UpsertBucket")
def upsert_run(backend: Backend, variables: dict[str, Any], query: str) -> dict[str, Any]:
    """A run begins, or changes its configuration."""
    name = variables.get("name") or variables.get("id")
    run = backend.run(str(name))
    inserted = "project" not in run
    project = project_of({"projectName": variables.get("project")})
    run |= {"project": project["name"]} | {k: variables[k] for k in KEPT if variables.get(k) is not None}
    if variables.get("config"):
        run["config"].update(json.loads(variables["config"]))
    shown = run.get("displayName", name)
    bucket = {"id": name, "name": name, "displayName": shown, "description": None, "config": None}
    bucket |= {"sweepName": run.get("sweep"), "historyLineCount": 0, "project": project}
    return {"upsertBucket": {"inserted": inserted, "bucket": bucket}}


@operation("RunResumeStatus")
def resume_status(backend: Backend, variables: dict[str, Any], query: str) -> dict[str, Any]:
    """Where a run that is there goes on: after the last row of its history."""
    name, bucket = variables["name"], None
    if name in backend.runs:
        run = backend.runs[name]
        shown = {"id": name, "name": name, "displayName": run.get("displayName"), "tags": run.get("tags") or []}
        counts = {"logLineCount": 0, "eventsLineCount": 0, "historyLineCount": len(run["history"])}
        tails = {"eventsTail": "[]", "historyTail": json.dumps([json.dumps(row) for row in run["history"][-1:]])}
        texts = {"summaryMetrics": json.dumps(run["summary"]), "config": json.dumps(run["config"])}
        bucket = shown | counts | tails | texts | {"notes": None, "wandbConfig": json.dumps({"t": {}})}
    return {"model": project_of(variables) | {"bucket": bucket}}


@operation("RunStoppedStatus")
def stopped(backend: Backend, variables: dict[str, Any], query: str) -> dict[str, Any]:
    """Nobody stops a run."""
    return {"project": {"run": {"stopped": False}}}


@operation("CreateRunFiles")
def create_files(backend: Backend, variables: dict[str, Any], query: str) -> dict[str, Any]:
    """Where to put files."""
    place = f"{backend.url}/storage/{variables['run']}"
    files = [{"name": name, "uploadUrl": f"{place}/{name}"} for name in variables["files"]]
    return {"createRunFiles": {"runID": variables["run"], "uploadHeaders": [], "files": files}}


@operation("MarkRunFilesUploaded")
def mark_uploaded(backend: Backend, variables: dict[str, Any], query: str) -> dict[str, Any]:
    """They are there."""
    return {"markRunFilesUploaded": {"success": True}}
