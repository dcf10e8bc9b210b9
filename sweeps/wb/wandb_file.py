"""Reading a .wandb file, W&B's log of a run: protobuf records in LevelDB's framing.

After a header of 7 bytes (":W&B", a magic number, a version) come blocks of 32 KiB, in them pieces of records, each
behind a checksum (CRC-32 of kind and content, 4 bytes), its length (2 bytes) and its kind (whole, first, middle, last).
A killed client leaves the file without its end; what is whole in it is read.
"""

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core import reading
from core.errors import UserError
from core.reading import DEEPEST, Unreadable, parse_json
from sweeps.wb import private

BLOCK, HEADER = 32768, 7
LARGEST = 1 << 29
"""Bytes of a log, at most: 300,000 rows of twenty numbers are half of it."""
IDENT = b":W&B\xe1\xbe\x00"
WHOLE, FIRST, LAST = 1, 2, 4


@dataclass
class Log:
    """What a log says of its run.

    rows: the history, in order. exit_code: None if the run was never closed. damage: one sentence a fault of the file.
    """

    path: Path
    run_id: str = ""
    project: str = ""
    group: str = ""
    sweep: str = ""
    job_type: str = ""
    name: str = ""
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    metrics: dict[str, str] = field(default_factory=dict)
    artifacts: list[Any] = field(default_factory=list)
    exit_code: int | None = None
    damage: list[str] = field(default_factory=list)


def pieces(content: bytes, damage: list[str]) -> Iterator[tuple[int, bytes]]:
    """(kind, content) of each sound piece; after a wrong checksum reading goes on with the next block."""
    position = HEADER
    while position + HEADER <= len(content):
        left = BLOCK - position % BLOCK
        if left < HEADER:
            position += left
            continue
        head = content[position : position + HEADER]
        length, kind = int.from_bytes(head[4:6], "little"), head[6]
        body = content[position + HEADER : position + HEADER + length]
        if len(body) < length <= left - HEADER:
            damage.append(f"it ends within a record, at byte {position}: the run was killed, or still writes")
            return
        if length > left - HEADER or zlib.crc32(head[6:] + body) != int.from_bytes(head[:4], "little"):
            damage.append(f"the block with byte {position} is damaged and left out from there on")
            position += left
            yield 0, b""
            continue
        position += HEADER + length
        yield kind, body


def chunks(content: bytes, damage: list[str]) -> Iterator[bytes]:
    """The records, put together from their pieces; one that lost a piece is left out."""
    parts: list[bytes] | None = None
    for kind, body in pieces(content, damage):
        if kind in (WHOLE, FIRST):
            parts = []
        elif not kind:
            parts = None
        if parts is not None:
            parts.append(body)
        if kind in (WHOLE, LAST) and parts is not None:
            yield b"".join(parts)
            parts = None


def read(path: Path) -> Log:
    """The log of one run. Raises UserError if the file is not there, is no log, or holds nothing."""
    try:
        content = reading.content(path, LARGEST)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except Unreadable as error:
        raise UserError(f"{path}: cannot be read ({error})") from error
    if content in (b"", IDENT):
        raise UserError(f"{path}: holds no record; its run was killed at once, or has just begun")
    if not content.startswith(IDENT):
        raise UserError(f"{path}: not a .wandb file (a log that W&B's client writes begins with :W&B)")
    log, odd = Log(path), list[str]()
    for chunk in chunks(content, log.damage):
        try:
            record = private.log_record(chunk)
        except Exception:  # protobuf's DecodeError: sound bytes of something else
            raise UserError(f"{path}: holds no records of W&B's client") from None
        _enter(log, record, odd)
    if odd:
        log.damage.append(f"{len(odd)} values that are no JSON are left out, the first of them {odd[0]}")
    return log


def _enter(log: Log, record: Any, odd: list[str]) -> None:
    """Take over what one record says; odd: names of values that are no JSON."""
    kind = record.WhichOneof("record_type")
    if kind == "history":
        log.rows.append(_update({}, record.history.item, odd))
    elif kind == "run":
        run = record.run
        log.run_id, log.project, log.group, log.sweep = run.run_id, run.project, run.run_group, run.sweep_id
        log.job_type, log.name, log.tags = run.job_type, run.display_name, list(run.tags)
        _update(log.config, run.config.update, odd)
    elif kind in ("config", "summary"):
        _update(getattr(log, kind), getattr(record, kind).update, odd)
    elif kind == "metric":
        log.metrics[record.metric.name or record.metric.glob_name] = record.metric.step_metric
    elif kind == "artifact":
        log.artifacts.append(record.artifact)
    elif kind == "exit":
        log.exit_code = record.exit.exit_code


def _update(target: dict[str, Any], items: Iterable[Any], odd: list[str]) -> dict[str, Any]:
    """Enter items, whose key is a name or a path of names; a value on the way that is no mapping gives way."""
    for item in items:
        *path, last = names = list(item.nested_key) or [item.key]
        try:
            value = parse_json(item.value_json)
            if len(path) > DEEPEST:
                raise Unreadable(f"nested deeper than {DEEPEST}")
        except Unreadable:
            odd.append(".".join(names[:DEEPEST]))
            continue
        place = target
        for name in path:
            if not isinstance(place.get(name), dict):
                place[name] = {}
            place = place[name]
        place[last] = value
    return target
