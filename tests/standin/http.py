"""The stand-in's HTTP side: GraphQL, the file stream of a run, uploads and downloads, on a free loopback port."""

import contextlib
import gzip
import json
import re
import socket
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standin.backend import KEY, Backend

NAME = re.compile(r"(?:query|mutation)\s+(\w+)")


class Handler(BaseHTTPRequestHandler):
    """One request."""

    backend: Backend
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        """Nothing on the terminal."""

    def _body(self) -> bytes:
        self.backend.answering.wait()
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(raw) if self.headers.get("Content-Encoding") == "gzip" else raw

    def _reply(self, content: Any, status: int = 200) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/octet-stream" if content is data else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _not_known(self) -> None:
        self.backend.unknown.append(f"{self.command} {self.path}")
        self._reply({}, 404)

    def do_GET(self) -> None:
        """Downloads: files of runs and blobs of artifacts."""
        place, _, rest = self.path.lstrip("/").partition("/")
        if place == "storage":
            run, _, name = rest.partition("/")
            if (run, name) in self.backend.files:
                return self._reply(self.backend.files[run, name])
        if place == "blobs" and rest in self.backend.blobs:
            return self._reply(self.backend.blobs[rest])
        return self._not_known()

    def do_PUT(self) -> None:
        """Uploads: files of runs and blobs of artifacts."""
        content = self._body()
        place, _, rest = self.path.lstrip("/").partition("/")
        with self.backend.lock:
            if place == "storage":
                run, _, name = rest.partition("/")
                self.backend.files[run, name] = content
            elif place == "blobs":
                self.backend.blobs[rest] = content
            else:
                return self._not_known()
        return self._reply({})

    def do_POST(self) -> None:
        """GraphQL and the file stream; telemetry is swallowed."""
        raw = self._body()
        with self.backend.lock:
            if self.path.startswith("/graphql"):
                return self._graphql(json.loads(raw))
            if self.path.endswith("/file_stream"):
                stream(self.backend, self.path.split("/")[-2], json.loads(raw))
                return self._reply({"exitcode": None, "limits": {}})
            if self.path.startswith("/sdk/otel/"):
                return self._reply({})
            return self._not_known()

    def _graphql(self, request: dict[str, Any]) -> None:
        query = request.get("query", "")
        found = NAME.search(query)
        name = request.get("operationName") or (found[1] if found else "")
        try:
            self._reply({"data": self.backend.graphql(name, query, request.get("variables") or {})})
        except Exception as error:  # said as a GraphQL server says it
            self.backend.unknown.append(f"{name}: {error!r}")
            self._reply({"errors": [{"message": repr(error)}]}, 400)


def stream(backend: Backend, run_id: str, body: dict[str, Any]) -> None:
    """Rows of history, the summary, and the end of a run."""
    backend.calls["file_stream"] += 1
    run = backend.run(run_id)
    for name, chunk in (body.get("files") or {}).items():
        rows = [json.loads(line) for line in chunk["content"] if line.startswith("{")]
        if name == "wandb-history.jsonl":  # rows sent again after a lost answer take the place of the first ones
            start = chunk.get("offset", len(run["history"]))
            run["history"][start : start + len(rows)] = rows
        elif name == "wandb-summary.json" and rows:
            run["summary"] = rows[-1]
    if body.get("complete"):
        run["exitcode"] = body.get("exitcode")


class Quiet(ThreadingHTTPServer):
    """Says nothing of clients that hang up."""

    daemon_threads = True

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.open: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember the connection."""
        self.open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget it."""
        self.open.discard(request)
        super().shutdown_request(request)

    def vanish(self) -> None:
        """Take no connection any more, and cut those that there are."""
        self.shutdown()
        self.server_close()
        for connection in list(self.open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Errors of the stand-in itself are still shown."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Server:
    """The running stand-in. `stop` makes it vanish: connections are cut, and refused from then on.

    Another one at its port, with its backend, is the same server come back. While `backend.answering` is cleared, it
    takes requests and never answers.
    """

    def __init__(self, port: int = 0, backend: Backend | None = None) -> None:
        self.backend = backend or Backend()
        handler = type("BoundHandler", (Handler,), {"backend": self.backend})
        self.http = Quiet(("127.0.0.1", port), handler)
        self.url = self.backend.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()

    @property
    def environment(self) -> dict[str, str]:
        """What makes the real client talk to this server."""
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": KEY, "WANDB_MODE": "online"}

    def stop(self) -> None:
        """End it."""
        self.backend.answering.set()
        self.http.vanish()


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """A stand-in for the length of a `with`."""
    server = Server()
    try:
        yield server
    finally:
        server.stop()
