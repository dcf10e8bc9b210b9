"""A loopback stand-in for the W&B server, enough for its real clients: runs, sweeps, agents, artifacts, workspaces.

`backend.py` holds what the server knows, `http.py` speaks HTTP; each other module answers the GraphQL operations of one
topic. An operation is one function under `@operation("Name")`: (backend, variables, query) -> the `data` of the reply.
"""

from standin import artifacts, reading, runs, sweeps, views
from standin.backend import ENTITY, KEY, PROJECT, Backend
from standin.http import Server, serving

__all__ = [
    "ENTITY",
    "KEY",
    "PROJECT",
    "Backend",
    "Server",
    "artifacts",
    "reading",
    "runs",
    "serving",
    "sweeps",
    "views",
]
