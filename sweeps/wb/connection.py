"""Whether there is a W&B server to talk to, and whether the user wants it."""

import netrc
import os
import socket
import sys
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from core.errors import UserError
from core.options import nearest

CONNECT_SECONDS = 3.0
"""Longest wait for a server to take a connection."""

MODES = {"online": "online", "offline": "offline", "disabled": "disabled", "run": "online", "dryrun": "offline"}
"""What WANDB_MODE may say (the last two are W&B's older words), and what it means."""

AGENT = ("WANDB_SWEEP_ID", "WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH", "WANDB_RUN_GROUP", "WANDB_NAME", "WANDB_RESUME")
"""Variables that speak of one run."""


def client() -> Any:
    """The wandb package, imported when it is first needed: that takes a second."""
    import wandb

    return wandb


def server() -> str:
    """The address of the W&B server that would be used."""
    return str(client().setup().settings.base_url)


def has_key(url: str) -> bool:
    """Whether there is a key for the server: in WANDB_API_KEY, or in the netrc file where `wandb login` puts it."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    path = os.environ.get("NETRC") or Path.home() / ".netrc"
    with suppress(OSError, netrc.NetrcParseError):
        return netrc.netrc(path).authenticators(urlsplit(url).hostname or "") is not None
    return False


def reachable(url: str, seconds: float = CONNECT_SECONDS) -> bool:
    """Whether the server (or the proxy on the way to it) takes a connection."""
    target = urlsplit(_first_stop(url))
    port = target.port or {"http": 80}.get(target.scheme, 443)
    with suppress(OSError), socket.create_connection((target.hostname or "", port), timeout=seconds):
        return True
    return False


def _first_stop(url: str) -> str:
    """The proxy that is on the way to an address, or the address itself."""
    parts = urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if not proxy or urllib.request.proxy_bypass(parts.netloc):
        return url
    return proxy if "://" in proxy else f"http://{proxy}"


def check_mode() -> str | None:
    """WANDB_MODE, if it is set. Raises UserError for what is no mode: else only the log of each run would say so."""
    if not (found := os.environ.get("WANDB_MODE")):
        return None
    if found not in MODES:
        raise UserError(f"WANDB_MODE={found}: no such mode.{nearest(found, MODES)} Or unset it")
    return MODES[found]


def begin() -> None:
    """For commands of many runs: WANDB_MODE is checked; what W&B's agent tells one run is dropped, not taken by all.

    The client reads these variables itself, so they leave the environment. sweeps.arm, which the agent starts for one
    run, keeps them.
    """
    check_mode()
    for name in AGENT:
        os.environ.pop(name, None)


def mode() -> str:
    """WANDB_MODE if it is set; else online if there is a key and the server answers; else offline."""
    if found := check_mode():
        return found
    url = server()
    if not has_key(url):
        return "offline"
    if reachable(url):
        return "online"
    report(f"{url} does not answer; runs are written offline (`wandb sync` sends them later)")
    os.environ["WANDB_MODE"] = "offline"  # asked once a process
    return "offline"


def report(message: str) -> None:
    """One line on standard error."""
    print(f"W&B: {message}", file=sys.stderr, flush=True)


def one_line(error: BaseException) -> str:
    """Kind and message of an error of the client's."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
