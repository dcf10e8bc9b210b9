"""Pages served on this machine alone: optuna-dashboard for a study's storage, and any other WSGI application."""

import os
import socketserver
import sys
import threading
import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from core.errors import UserError, masked_word
from core.run_folder import JOURNAL
from sweeps.extras import need

HOST = "127.0.0.1"
BOARD_PORT, REPORT_PORT = 8080, 8081
"""Tried first; any free one if it is taken."""


class Server(socketserver.ThreadingMixIn, WSGIServer):
    """A thread for each request, none of which keeps the process alive."""

    daemon_threads = True
    allow_reuse_address = True


class Quiet(WSGIRequestHandler):
    """No line on the terminal for each request."""

    def log_message(self, *args: Any) -> None:
        """Nothing."""


STORAGE = "SWEEP_STORAGE"
"""The variable that names a storage (sweeps/running/storage.py, which brings in optuna)."""


def storage_of(folder: Path, given: str | None) -> str | None:
    """The study's Optuna storage: what was given, or the journal in its folder; None if that is not there.

    Raises UserError for a given file that is not there.
    """
    if not given:
        journal = folder / JOURNAL
        return str(journal) if journal.exists() else None
    from sweeps.running.storage import present  # brings in optuna

    present(given)
    return given


def listen(app: Callable[..., Any], usual: int, port: int | None) -> Server:
    """A server for an application, listening but not yet serving, at the port, or the usual one or a free one.

    Raises UserError if the port is not to be had.
    """
    ports = [usual, 0] if port is None else [port]
    for each in ports:
        try:
            return make_server(HOST, each, app, server_class=Server, handler_class=Quiet)
        except (OSError, OverflowError) as error:
            if each == ports[-1]:
                raise UserError(f"--port {each}: {error}; leave it out, and a free one is taken") from error
    raise AssertionError("unreachable")


def address(server: Server) -> str:
    """Where it answers."""
    return f"http://{HOST}:{server.server_address[1]}/"


def board(where: str, port: int | None) -> Server:
    """optuna-dashboard for a storage, listening. Raises UserError: not installed, or storage or port unusable.

    It gets our own opened storage: what it would open itself has Optuna's lock files, which a sweep does not heed.
    """
    wsgi = need("optuna_dashboard", "optuna-dashboard", "the dashboard").wsgi
    import optuna  # these take seconds: not for --help

    from sweeps.running.optuna_private import importance_by_fanova
    from sweeps.running.storage import open_storage

    storage = open_storage(where)
    if not optuna.get_all_study_names(storage):
        raise UserError(
            f"{masked_word(where)}: there is no Optuna study in it; give the storage of the sweep, --storage"
        )
    importance_by_fanova()
    return listen(wsgi(storage), BOARD_PORT, port)


def serve(servers: Sequence[Server]) -> None:
    """Serve all of them until Ctrl-C."""
    threads = [threading.Thread(target=each.serve_forever, args=(0.2,), daemon=True) for each in servers]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    except KeyboardInterrupt:
        print("\ndashboards ended", file=sys.stderr)
    finally:
        for each in servers:
            each.server_close()


def has_screen() -> bool:
    """Whether a browser's window would be seen here (a text browser would take the terminal)."""
    if os.environ.get("SSH_CONNECTION"):
        return False
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def show(address: str, what: str, browser: bool) -> None:
    """Open a page in the browser if it is wanted and there is a screen; print where it is."""
    opened = browser and has_screen() and webbrowser.open(address)
    print(f"{what}: {address}" + " (opened)" * bool(opened), flush=True)
