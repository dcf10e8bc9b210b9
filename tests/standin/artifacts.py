"""Artifacts: versions by content, their manifests and files, who made and who used them.

An artifact is first announced (PENDING), then its files are put into blobs, then its manifest, then it is committed.
One whose digest its collection has already is said to be there (COMMITTED), so nothing is uploaded twice.
"""

from typing import Any

from standin.backend import Backend, operation


@operation("ArtifactType")
def type_of(backend: Backend, variables: dict[str, Any], query: str) -> dict[str, Any]:
    """The type of a collection; null if it is new."""
    name = variables["name"].partition(":")[0]
    found = [a for a in backend.artifacts.values() if a["collection"] == name]
    return {"project": {"artifact": {"artifactType": {"name": found[0]["type"]}} if found else None}}


@operation("CreateArtifact")
def create(backend: Backend, variables: dict[str, Any], query: str) -> dict[str, Any]:
    """An artifact is announced."""
    given = variables["input"]
    versions = [a for a in backend.artifacts.values() if a["collection"] == given["artifactCollectionName"]]
    same = [a for a in versions if a["digest"] == given["digest"]]
    if same:
        artifact = same[0]
    else:
        name = f"artifact{len(backend.artifacts):03d}"
        artifact = {"id": name, "collection": given["artifactCollectionName"], "type": given["artifactTypeName"]}
        artifact |= {"digest": given["digest"], "metadata": given["metadata"], "state": "PENDING", "used_by": []}
        artifact |= {"made_by": given["runName"], "version": f"v{len(versions)}", "files": {}}
        backend.artifacts[name] = artifact
    latest = {"latestArtifact": {"id": versions[-1]["id"]} if versions else None}
    found = {"id": artifact["id"], "state": artifact["state"], "artifactSequence": latest}
    return {"createArtifact": {"artifact": found}}


@operation("CreateArtifactManifest", "UpdateArtifactManifest")
def manifest(backend: Backend, variables: dict[str, Any], query: str) -> dict[str, Any]:
    """Where to put its manifest."""
    artifact = variables.get("artifactID") or variables["artifactManifestID"].removeprefix("manifest-")
    file = {"id": "f", "uploadUrl": f"{backend.url}/blobs/{artifact}/manifest", "uploadHeaders": []}
    answer = {"artifactManifest": {"id": f"manifest-{artifact}", "file": file}}
    return {"createArtifactManifest": answer, "updateArtifactManifest": answer}


@operation("CreateArtifactFiles")
def files(backend: Backend, variables: dict[str, Any], query: str) -> dict[str, Any]:
    """Where to put its files."""
    edges = []
    for spec in variables["input"]["artifactFiles"]:
        place = f"{spec['artifactID']}/files/{spec['name']}"
        backend.artifacts[spec["artifactID"]]["files"][spec["name"]] = place
        node = {"storagePath": place, "uploadUrl": f"{backend.url}/blobs/{place}", "uploadHeaders": []}
        edges.append({"node": node | {"uploadMultipartUrls": None, "artifact": {"id": spec["artifactID"]}}})
    return {"createArtifactFiles": {"files": {"edges": edges}}}


@operation("CommitArtifact")
def commit(backend: Backend, variables: dict[str, Any], query: str) -> dict[str, Any]:
    """It is whole."""
    backend.artifacts[variables["artifactID"]]["state"] = "COMMITTED"
    return {"commitArtifact": {"artifact": {"id": variables["artifactID"], "digest": ""}}}


@operation("UseArtifact")
def use(backend: Backend, variables: dict[str, Any], query: str) -> dict[str, Any]:
    """A run uses one."""
    given = variables["input"]
    backend.artifacts[given["artifactID"]]["used_by"].append(given["runName"])
    return {"useArtifact": {"artifact": {"id": given["artifactID"]}}}
