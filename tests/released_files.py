"""Checkpoint files as the released code writes them, and files made by hand that only look like them."""

import argparse
import collections
import io
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import torch

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
OPTIONS: dict[str, Any] = {"model_dim": 8, "arch": "x", "noise": 0.5, "dropout": None, "deep": [1, [2.0, {"a": True}]]}


def weights() -> dict[str, torch.Tensor]:
    """Tensors of every kind and form that checkpoints hold."""
    torch.manual_seed(0)
    table = torch.randn(6, 4)
    return {
        "float": table,
        "half": torch.randn(3, 5).half(),
        "bfloat16": torch.randn(3).bfloat16(),
        "double": torch.randn(2, 2).double(),
        "count": torch.tensor(3),
        "bytes": torch.arange(5, dtype=torch.uint8),
        "flags": torch.tensor([True, False]),
        "empty": torch.zeros(0, 3),
        "shared": table,
        "part": table[2:4, 1:3],
        "turned": table.t(),
        "every second": torch.arange(10).short()[::2],
        "parameter": torch.nn.Parameter(torch.randn(2)),
    }


def content() -> dict[str, Any]:
    """What a checkpoint holds: options, weights with torch's notes on versions, and more that nobody reads."""
    model = collections.OrderedDict(weights())
    model._metadata = collections.OrderedDict(version=1)  # type: ignore[attr-defined]
    more = {"extra_state": {"epoch": 3}, "last_optimizer_state": {"state": {0: {"exp_avg": torch.randn(4)}}}}
    return {"args": argparse.Namespace(**OPTIONS), "model": model, **more}


def saved(path: Path, zipped: bool, protocol: int = 2, what: Any = None) -> Path:
    """A checkpoint that torch.save wrote."""
    given = content() if what is None else what
    torch.save(given, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    return path


def zipped(pickled: bytes, root: str = "archive", how: int = zipfile.ZIP_STORED, **numbers: bytes) -> bytes:
    """A zip as torch.save makes it. numbers: data/NAME."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", how) as archive:
        archive.writestr(f"{root}/data.pkl", pickled)
        for name, content in numbers.items():
            archive.writestr(f"{root}/data/{name.removeprefix('_')}", content)
    return stream.getvalue()


def legacy(pickled: bytes, *numbers: tuple[str, int, bytes]) -> bytes:
    """The legacy form. numbers: key, count, bytes."""
    head = b"".join(pickle.dumps(value, 2) for value in (MAGIC, PROTOCOL, {"little_endian": True}))
    keys = pickle.dumps([key for key, _, _ in numbers], 2)
    return head + pickled + keys + b"".join(struct.pack("<q", count) + raw for _, count, raw in numbers)


# Pickles by hand


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def checkpoint(model: bytes, args: bytes | None = None) -> bytes:
    """The pickle of a checkpoint whose model and args these operations push."""
    args = NAMESPACE + b"}b" if args is None else args
    return b"\x80\x02}(" + text("args") + args + text("model") + model + b"u."


def number(value: int) -> bytes:
    """A whole number of any size."""
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def tensor(
    size: tuple[int, ...], stride: tuple[int, ...], offset: int, count: int, kind: str = "FloatStorage"
) -> bytes:
    """A tensor that may not lie within its storage `0`."""
    where = (
        b"(" + text("storage") + b"ctorch\n" + kind.encode() + b"\n" + text("0") + text("cpu") + number(count) + b"tQ"
    )
    shape = b"".join(b"(" + b"".join(map(number, numbers)) + b"t" for numbers in (size, stride))
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + where + number(offset) + shape + b"\x89" + EMPTY + b"tR"


NAMESPACE = b"cargparse\nNamespace\n)\x81"
EMPTY = b"ccollections\nOrderedDict\n)R"


def model(of: bytes) -> bytes:
    """A model whose one tensor these operations push."""
    return b"}" + text("w") + of + b"s"


def weight(of: bytes) -> bytes:
    """The pickle of a checkpoint with such a model."""
    return checkpoint(model(of))


def option(of: bytes) -> bytes:
    """The pickle of a checkpoint with an option x that these operations push."""
    return checkpoint(model(tensor((1,), (1,), 0, 1)), NAMESPACE + b"}" + text("x") + of + b"sb")


TOUCH = text("touch executed")
LAUGHS = b"(]q\0" + b"".join(b"(" + (b"h" + bytes([i])) * 10 + b"tq" + bytes([i + 1]) for i in range(99)) + b"t"
HOSTILE: dict[str, bytes] = {
    "a call": weight(b"cos\nsystem\n" + TOUCH + b"\x85R"),
    "a builtin": weight(b"c__builtin__\neval\n" + text("1+1") + b"\x85R"),
    "a builtin of protocol 4": weight(text("builtins") + text("eval") + b"\x93" + text("1+1") + b"\x85R"),
    "a dotted name": weight(text("torch") + text("serialization.os.system") + b"\x93" + TOUCH + b"\x85R"),
    "a function of torch": weight(b"ctorch.hub\nload\n" + text("x") + b"\x85R"),
    "an instance": weight(b"(" + TOUCH + b"ios\nsystem\n"),
    "an object": weight(b"(cos\nsystem\n" + TOUCH + b"o"),
    "an object with names": weight(b"cargparse\nNamespace\n)}" + text("x") + b"K\x01s\x92"),
    "an extension": weight(b"\x82\x01"),
    "a name that is no text": weight(b"]]\x93"),
    "a terminal's escape": weight(b"c\x1b[31mred\nx\n"),
    "a module": weight(b"(" + text("module") + NAMESPACE + text("x.py") + text("source") + b"tQ"),
    "an id that is no storage": weight(text("x") + b"Q"),
    "an id as text": weight(b"Pstorage\n"),
    "a part of a storage": weight(
        b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"K\x01K\0K\x01K\x01\x87tQ"
    ),
    "state of a class": weight(b"cargparse\nNamespace\n}" + text("x") + b"K\x01sb"),
    "state of a function": weight(b"ctorch._utils\n_rebuild_tensor_v2\nN}" + text("__code__") + b"K\x01s\x86b"),
    "state in slots": checkpoint(model(b"K\x01"), NAMESPACE + b"N}" + text("x") + b"K\x01s\x86b"),
    "a namespace that is called": weight(b"cargparse\nNamespace\n" + text("x") + b"\x85R"),
    "a mapping of arguments": weight(b"ccollections\nOrderedDict\n]\x85R"),
    "a parameter of nothing": weight(b"ctorch._utils\n_rebuild_parameter\n)R"),
    "a tensor without storage": weight(b"ctorch._utils\n_rebuild_tensor_v2\n(NK\0)))))tR"),
    "a call of a value": weight(b"K\x01)R"),
    "an entry of a tensor": weight(tensor((1,), (1,), 0, 1) + text("a") + b"K\x01s"),
    "an item of a namespace": weight(NAMESPACE + b"K\x01a"),
    "a tuple as key": weight(b"})" + b"\x85" * 50_000 + b"K\x01s"),
    "a deep tuple": weight(b")" + b"\x85" * 500_000),
    "a deep list": weight(b"]" * 300_000 + b"a" * 299_999),
    "a list of itself": option(b"]q\0h\0a"),
    "a billion laughs": option(LAUGHS),
    "a deep option": option(b"]" * 100 + b"a" * 99),
    "an option that is a tensor": option(tensor((1,), (1,), 0, 1)),
    "an option that is bytes": option(b"C\x01x"),
    "args that are none": checkpoint(model(tensor((1,), (1,), 0, 1)), b"}"),
    "a model that is none": checkpoint(b"]"),
    "an empty model": checkpoint(b"}"),
    "weights that are none": weight(b"K\x01"),
    "a place far away": weight(b"K\x01r\xff\xff\xff\xff"),
    "a place that is empty": weight(b"j\xff\xff\xff\xff"),
    "a long number": weight(b"\x8b" + struct.pack("<i", 100_000) + b"\x7f" * 100_000),
    "a number that is not there": weight(b"\x8b" + struct.pack("<i", 2**31 - 1) + b"\x7f"),
    "a number of negative length": weight(b"\x8b" + struct.pack("<i", -5)),
    "a long number as text": weight(b"L" + b"9" * 100_000 + b"L\n"),
    "a text that is not there": weight(b"\x8d" + struct.pack("<Q", 2**62)),
    "bytes that are not there": weight(b"\x8e" + struct.pack("<Q", 2**40)),
    "an array of bytes": weight(b"\x96" + struct.pack("<Q", 2**40)),
    "a buffer outside": weight(b"\x97"),
    "a long frame": b"\x80\x04\x95" + struct.pack("<Q", 2**63) + b"}.",
    "many operations": b"\x80\x02" + b"K\x01" * 1_100_000 + b".",
    "many marks": b"\x80\x02" + b"(" * 500_000 + b".",
    "no stop": b"\x80\x02}",
    "nothing on the stack": b"\x80\x02.",
    "no mark": b"\x80\x02t.",
    "nothing": b"",
    "unknown operations": b"\x80\x02\xff.",
    "a tensor of much": weight(tensor((10**9, 10**9), (0, 0), 0, 1)),
    "a tensor beyond its storage": weight(tensor((4,), (1,), 0, 2)),
    "a tensor from beyond": weight(tensor((1,), (1,), 5, 2)),
    "a tensor from before": weight(tensor((1,), (1,), -1, 2)),
    "steps beyond": weight(tensor((2, 2), (10**15, 1), 0, 4)),
    "steps back": weight(tensor((2,), (-1,), 1, 2)),
    "a negative size": weight(tensor((-1, -2), (1, 1), 0, 2)),
    "sizes without steps": weight(tensor((1,), (), 0, 2)),
    "many dimensions": weight(tensor((1,) * 100, (1,) * 100, 0, 2)),
    "a storage of much": weight(tensor((1,), (1,), 0, 10**15)),
    "a storage of less than nothing": weight(tensor((), (), 0, -2)),
    "a storage of no numbers": weight(tensor((1,), (1,), 0, 1, "QInt8Storage")),
    "far more tensors than numbers": checkpoint(
        b"}("
        + text("w")
        + tensor((2,), (1,), 0, 2)
        + b"q\x01"
        + b"".join(text(f"w{i}") + b"h\x01" for i in range(1000))
        + b"u"
    ),
}
"""Pickles by which a checkpoint might call or write something, hang, or fill the memory."""
