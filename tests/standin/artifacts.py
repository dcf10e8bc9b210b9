"""Artifacts: said to be stored already, so that nothing is uploaded; without an answer the client dies."""

from typing import Any

from standin.backend import Backend, operation


@operation("CreateArtifact")
def create(backend: Backend, variables: dict[str, Any], query: str) -> dict[str, Any]:
    """An artifact is logged by a run."""
    name = f"artifact{len(backend.artifacts):03d}"
    backend.artifacts[name] = {"id": name, **variables}
    sequence = {"id": "s", "latestArtifact": None}
    return {"createArtifact": {"artifact": {"id": name, "state": "COMMITTED", "artifactSequence": sequence}}}


@operation("UseArtifact")
def use(backend: Backend, variables: dict[str, Any], query: str) -> dict[str, Any]:
    """A run uses one."""
    return {"useArtifact": {"artifact": {"id": variables.get("artifactID")}}}
