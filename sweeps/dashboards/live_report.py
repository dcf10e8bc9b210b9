"""Our own report of a study as a page of this machine, drawn anew whenever a run has ended; the open page follows.

The report itself (analysis.report) allows no script but its own and no network, and stays as it is: a page around it
asks for its version, and loads it again when it has another one.
"""

import html
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from core.run_folder import RUN, SEARCH, try_read

LOOK_SECONDS = 3.0
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Report: {name}</title>
<style>html, body {{ margin: 0; height: 100% }} iframe {{ display: block; border: 0; width: 100%; height: 100% }}
</style>
</head><body><iframe src="report" title="Report of {name}"></iframe><script>
let shown = "{version}"
setInterval(async () => {{
  const now = await fetch("version").then((reply) => reply.text()).catch(() => shown)
  if (now !== shown) document.querySelector("iframe").contentWindow.location.reload()
  shown = now
}}, 2000)
</script></body></html>
"""
EMPTY = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Report</title><p>{why}; this page follows.
"""

Headers = list[tuple[str, str]]


def ended(study: Path) -> tuple[Any, ...]:
    """What a report depends on: which runs have ended and how, and when search.json was written.

    The report of a search shows the runs of its comparison, which lie beside it. Empty while there is nothing to show.
    """
    found, places = list[Any](), [study]
    if isinstance(search := try_read(study / SEARCH)[0], dict):
        found.append((study / SEARCH).stat().st_mtime_ns)
        places = [study.parent / str(search.get(name)) for name in ("default", "tuned")]
    for path in sorted(path for place in places for path in place.glob(f"*/{RUN}")):
        record, _ = try_read(path)
        if isinstance(record, dict) and record.get("state") in ("finished", "failed"):
            found.append((str(path), record["state"], record.get("finished")))
    return tuple(found)


class LiveReport:
    """The report of a study in out/index.html; version: how often it has been drawn."""

    def __init__(self, study: Path, out: Path) -> None:
        self.study, self.out, self.version = study, out, 0
        self.why = "No run has ended yet"
        self.seen: tuple[Any, ...] = ()
        self.over = threading.Event()
        self.drawing: subprocess.Popen[bytes] | None = None

    def look(self) -> None:
        """Draw the report if a run has ended since it was drawn."""
        if (now := ended(self.study)) == self.seen:
            return
        self.seen, self.why = now, "The report is being drawn"
        line = [sys.executable, "-m", "analysis.report", str(self.study), "--out", str(self.out)]
        self.drawing = subprocess.Popen(line, stdout=subprocess.DEVNULL, start_new_session=True)
        if self.drawing.wait() == 0:
            self.version += 1
        else:
            self.why = "The report cannot be drawn (the terminal says why)"

    def follow(self) -> None:
        """Look again and again, from a thread of its own, until `close`."""

        def keep() -> None:
            while not self.over.is_set():
                self.look()
                self.over.wait(LOOK_SECONDS)

        threading.Thread(target=keep, daemon=True).start()

    def close(self) -> None:
        """No more looks; what is being drawn is left undone."""
        self.over.set()
        if self.drawing is not None and self.drawing.poll() is None:
            self.drawing.terminate()

    def answer(self, environ: dict[str, Any], start: Callable[[str, Headers], Any]) -> Iterable[bytes]:
        """The pages, as a WSGI application: the one around it, its version, the report."""
        path = environ["PATH_INFO"].strip("/")
        pages = {"": self._around, "report": self._report, "version": lambda: str(self.version).encode()}
        body = pages[path]() if path in pages else b"not found\n"
        kind = "text/plain" if path not in ("", "report") else "text/html"
        headers = [("Content-Type", f"{kind}; charset=utf-8"), ("Cache-Control", "no-store")]
        start("200 OK" if path in pages else "404 Not Found", [*headers, ("Content-Length", str(len(body)))])
        return [body]

    def _around(self) -> bytes:
        return PAGE.format(name=html.escape(self.study.resolve().name), version=self.version).encode()

    def _report(self) -> bytes:
        if not self.version:
            return EMPTY.format(why=self.why).encode()
        return (self.out / "index.html").read_bytes()
