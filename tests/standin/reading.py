"""What the public API reads: runs with their configuration, summary and whole history, and their artifacts."""

import json
from typing import Any

from standin.backend import ENTITY, Backend, operation

USER = {"name": ENTITY, "username": ENTITY}
NO_MORE = {"endCursor": None, "hasNextPage": False}


def described(name: str, run: dict[str, Any]) -> dict[str, Any]:
    """A run as it is shown."""
    state = {None: "running", 0: "finished"}.get(run.get("exitcode"), "failed")
    summary, history = json.dumps(run["summary"]), run["history"]
    shown = {"id": name, "name": name, "displayName": run.get("displayName", name), "state": state, "user": USER}
    shown |= {"config": json.dumps(run["config"]), "summaryMetrics": summary, "systemMetrics": "{}"}
    shown |= {"group": run.get("groupName"), "jobType": run.get("jobType"), "tags": run.get("tags") or []}
    shown |= {"sweepName": run.get("sweep"), "historyLineCount": len(history), "projectId": "1", "readOnly": False}
    keys: dict[str, Any] = {
        "keys": {},
        "lastStep": max((row.get("_step", 0) for row in history), default=0),
        "sets": [],
    }
    nothing = dict.fromkeys(("commit", "createdAt", "heartbeatAt", "description", "notes"))
    return shown | nothing | {"createdAt": "2026-01-01T00:00:00", "historyKeys": keys}


def runs_of(backend: Backend, variables: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The runs of the project that a request names, by id."""
    if variables.get("entity", variables.get("entityName")) != ENTITY:
        return {}
    name = variables.get("project") or variables.get("projectName")
    return {key: run for key, run in backend.runs.items() if run.get("project") == name}


@operation("Runs")
def runs(backend: Backend, variables: dict[str, Any], query: str) -> dict[str, Any]:
    """The runs of a project that pass a filter by equality; null for a project without runs."""
    found, wanted = runs_of(backend, variables), json.loads(variables.get("filters") or "{}")
    if not found:
        return {"project": None}
    nodes = [described(name, run) for name, run in found.items()]
    nodes = [node for node in nodes if all(node.get(key) == value for key, value in wanted.items())]
    edges = {"edges": [{"node": node, "cursor": ""} for node in nodes], "pageInfo": NO_MORE}
    return {"project": {"internalId": "1", "runCount": len(nodes), "readOnly": False, "runs": edges}}


def artifact(backend: Backend, found: dict[str, Any], project: str) -> dict[str, Any]:
    """A version as it is shown."""
    place = {"id": "p", "internalId": "1", "name": project, "entity": {"name": ENTITY}}
    sequence = {"__typename": "ArtifactSequence", "id": "s", "name": found["collection"], "project": place}
    alias = {"__typename": "ArtifactAlias", "id": "a", "alias": "latest", "artifactCollection": sequence}
    shown = {"__typename": "Artifact", "id": found["id"], "artifactSequence": sequence, "aliases": [alias], "tags": []}
    shown |= {
        "versionIndex": int(found["version"][1:]),
        "artifactType": {"name": found["type"]},
        "state": found["state"],
    }
    shown |= {"digest": found["digest"], "metadata": found["metadata"] or "{}", "fileCount": len(found["files"])}
    shown |= {
        "size": sum(len(backend.blobs.get(place, b"")) for place in found["files"].values()),
        "ttlIsInherited": True,
        "ttlDurationSeconds": 0,
    }
    nothing = dict.fromkeys(("description", "historyStep", "commitHash", "updatedAt"))
    return shown | nothing | {"createdAt": "2026-01-01T00:00:00"}


def connection(nodes: list[dict[str, Any]]) -> dict[str, Any]:
    """All of them on one page."""
    return {"totalCount": len(nodes), "pageInfo": {"__typename": "PageInfo"} | NO_MORE, "edges": edges(nodes)}


def edges(nodes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A list as GraphQL has it."""
    return [{"node": node, "cursor": ""} for node in nodes]


@operation("RunOutputArtifacts", "RunInputArtifacts")
def of_run(backend: Backend, variables: dict[str, Any], query: str) -> dict[str, Any]:
    """The artifacts that a run made, or used."""
    name, all_of_them = variables["run"], backend.artifacts.values()
    made = [a for a in all_of_them if a["made_by"] == name] if "outputArtifacts" in query else []
    used = [a for a in all_of_them if name in a["used_by"]] if "inputArtifacts" in query else []
    found = connection([artifact(backend, a, variables["project"]) for a in made + used])
    return {"project": {"run": {"artifacts": found}}}


@operation("ArtifactMembershipFiles")
def files_of(backend: Backend, variables: dict[str, Any], query: str) -> dict[str, Any]:
    """The files of a version that have one of some names."""
    version = variables["collection"], variables["alias"]
    found = next(a for a in backend.artifacts.values() if (a["collection"], a["version"]) == version)
    nothing = dict.fromkeys(("storagePath", "mimetype", "updatedAt", "digest", "md5"))
    nodes = [
        {"__typename": "File", "id": place, "name": name, "sizeBytes": len(backend.blobs.get(place, b""))}
        | {"url": f"{backend.url}/blobs/{place}", "directUrl": f"{backend.url}/blobs/{place}"}
        | nothing
        for name, place in found["files"].items()
        if name in (variables["fileNames"] or found["files"])
    ]
    membership = {"__typename": "ArtifactCollectionMembership", "files": connection(nodes)}
    return {"project": {"artifactCollection": {"__typename": "ArtifactSequence", "artifactMembership": membership}}}


@operation("RunHistoryKeys")
def history_keys(backend: Backend, variables: dict[str, Any], query: str) -> dict[str, Any]:
    """How far a run's history goes."""
    name = variables["name"]
    return {"project": {"run": {"historyKeys": described(name, backend.runs[name])["historyKeys"]}}}


@operation("RunParquetHistory")
def history(backend: Backend, variables: dict[str, Any], query: str) -> dict[str, Any]:
    """All rows of a run's history, none of them exported to a parquet file yet."""
    rows = backend.runs[variables["runName"]]["history"]
    return {"project": {"run": {"parquetHistory": {"parquetUrls": [], "liveData": rows}}}}


@operation("HistoryPage")
def history_page(backend: Backend, variables: dict[str, Any], query: str) -> dict[str, Any]:
    """Some rows of it, as text."""
    rows = backend.runs[variables["run"]]["history"]
    page = [json.dumps(row) for row in rows if variables["minStep"] <= row["_step"] < variables["maxStep"]]
    return {"project": {"run": {"history": page[: variables["pageSize"]]}}}
