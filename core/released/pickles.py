"""Pickles of released checkpoints, read without Python's unpickler: no code of theirs or ours is called for them.

`pickletools` takes the bytes apart. Of the operations those that build plain values are carried out; of those that call
something only the few forms are known by which checkpoints hold tensors, their options and an enum. They become the
inert descriptions below. All else is refused.
"""

import math
import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any

import torch

from core.reading import LONGEST_NUMBER, Unreadable

MOST_OPERATIONS = 1_000_000
MOST_DIMENSIONS = 8
DEEPEST, MOST_VALUES = 20, 100_000
"""How deep the options nest, and how many values they hold, at most; what stands in two places counts twice."""


@dataclass(frozen=True)
class Name:
    """A function or class that a pickle asks for; nothing is looked up for it."""

    module: str
    name: str


@dataclass(frozen=True)
class Storage:
    """The numbers behind tensors: `count` of them, in the file under `key`."""

    key: str
    dtype: torch.dtype
    count: int


@dataclass(frozen=True)
class View:
    """A tensor that is not read yet: its storage from `offset` on, in elements. It lies within its storage."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def elements(self) -> int:
        """How many numbers it has."""
        return math.prod(self.size)


@dataclass
class Namespace:
    """Stands for an argparse.Namespace."""

    values: Any = field(default_factory=dict)


class Inert:
    """Stands for an enum member of the released modules; nothing of it is run or kept."""


NAMESPACE = Name("argparse", "Namespace")
MAPPING = Name("collections", "OrderedDict")
TENSOR = Name("torch._utils", "_rebuild_tensor_v2")
PARAMETER = Name("torch._utils", "_rebuild_parameter")
ENUMS = (Name("difformer.modules", "SelfCondPosition"), Name("difformer.modules", "EmbedNormPosition"))
STORAGES = {
    Name("torch", "HalfStorage"): torch.float16,
    Name("torch", "BFloat16Storage"): torch.bfloat16,
    Name("torch", "FloatStorage"): torch.float32,
    Name("torch", "DoubleStorage"): torch.float64,
    Name("torch", "LongStorage"): torch.int64,
    Name("torch", "IntStorage"): torch.int32,
    Name("torch", "ShortStorage"): torch.int16,
    Name("torch", "CharStorage"): torch.int8,
    Name("torch", "ByteStorage"): torch.uint8,
    Name("torch", "BoolStorage"): torch.bool,
}
ADMITTED = {NAMESPACE, MAPPING, TENSOR, PARAMETER, *ENUMS, *STORAGES}
KEYS = (str, int, float, bool, type(None))
"""Kinds of keys: none of values that hold others, whose hash may take for ever."""


def load(file: IO[bytes], most: int, storages: dict[str, Storage] | None = None) -> Any:
    """The value of the pickle that begins here; the file stands behind it afterwards. most: bytes it may have.

    storages: gets all storages that it refers to, by key.

    Plain values, Namespace, Inert, View and Storage. Raises Unreadable on what is damaged or not admitted.
    """
    machine = _Machine({} if storages is None else storages)
    try:
        source: Any = _Limited(file, most)  # all that genops needs of a file
        for number, (operation, argument, _) in enumerate(pickletools.genops(source)):
            if number >= MOST_OPERATIONS:
                raise Unreadable(f"a pickle of more than {MOST_OPERATIONS:,} operations")
            if operation.name not in OPERATIONS:
                raise Unreadable(f"refused: the file uses pickle's operation {operation.name}")
            OPERATIONS[operation.name](machine, argument)
        return machine.stack.pop()
    except Unreadable:
        raise
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise Unreadable(f"a damaged pickle ({' '.join(str(error).split())[:100] or type(error).__name__})") from None


@dataclass
class _Limited:
    """A file of which no more than `left` bytes are read: pickles say how much follows, and need not tell the truth."""

    file: IO[bytes]
    left: int

    def read(self, count: int) -> bytes:
        return self._taken(self.file.read(min(count, self.left)))

    def readline(self) -> bytes:
        return self._taken(self.file.readline(self.left))

    def _taken(self, found: bytes) -> bytes:
        self.left -= len(found)
        return found


class _Machine:
    """What an unpickler has: a stack, the stacks below marks, and a memory."""

    def __init__(self, storages: dict[str, Storage]) -> None:
        self.storages = storages
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memory: dict[int, Any] = {}

    def push(self, value: Any) -> None:
        if isinstance(value, int) and value.bit_length() > LONGEST_NUMBER * 3:
            raise Unreadable("a number that is too long")
        self.stack.append(value)

    def mark(self, _: Any) -> None:
        self.below.append(self.stack)
        self.stack = []

    def marked(self) -> list[Any]:
        """What was pushed since the last mark."""
        found, self.stack = self.stack, self.below.pop()
        return found

    def extend(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise Unreadable("refused: the file appends to something that is no list")
        self.stack[-1].extend(items)

    def enter(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not dict or not all(type(key) in KEYS for key in items[::2]):
            raise Unreadable("refused: the file enters something into what is no mapping, or by a key that is no text")
        self.stack[-1].update(zip(items[::2], items[1::2], strict=True))

    def popped(self, count: int) -> list[Any]:
        """The last values, in the order in which they were pushed."""
        if len(self.stack) < count:
            raise IndexError("nothing to take")
        found = self.stack[-count:]
        del self.stack[-count:]
        return found

    def name(self, module: Any, name: Any) -> None:
        if type(module) is not str or type(name) is not str:
            raise Unreadable("refused: the file asks for something that has no name")
        if (found := Name(module, name)) not in ADMITTED:
            said = f"{module}.{name}"
            raise Unreadable(f"refused: the file asks for {said if said.isprintable() else ascii(said)}")
        self.stack.append(found)

    def call(self, _: Any) -> None:
        """A function of the file and its arguments become what they stand for."""
        function, arguments = self.popped(2)
        self.stack.append(_described(function, arguments))

    def build(self, _: Any) -> None:
        """The state of an object: a namespace keeps it, that of a mapping (torch's notes on versions) is dropped."""
        (state,) = self.popped(1)
        if type(state) is not dict or type(self.stack[-1]) not in (Namespace, dict):
            raise Unreadable("refused: the file sets the state of something that is no namespace")
        if isinstance(self.stack[-1], Namespace):
            self.stack[-1].values = state

    def storage(self, _: Any) -> None:
        """BINPERSID: a storage of numbers, by its kind, key and count. Raises Unreadable for any other reference."""
        (said,) = self.popped(1)
        if type(said) is not tuple or len(said) not in (5, 6) or said[0] != "storage" or said[5:] not in ((), (None,)):
            raise Unreadable("refused: the file refers to something that is no storage of numbers")
        _, kind, key, _, count = said[:5]
        if not (isinstance(kind, Name) and kind in STORAGES and type(key) is str and type(count) is int and count >= 0):
            raise Unreadable("refused: a storage of another kind than numbers")
        made = Storage(key, STORAGES[kind], count)
        if self.storages.setdefault(key, made) != made:
            raise Unreadable("a storage of two kinds")
        self.stack.append(made)


def _described(function: Any, arguments: Any) -> Any:
    if not isinstance(function, Name) or type(arguments) is not tuple:
        raise Unreadable("refused: the file calls something that is no function")
    if function == MAPPING and not arguments:
        return {}
    if function == NAMESPACE and not arguments:
        return Namespace()
    if function in ENUMS:
        return Inert()
    if function == PARAMETER and arguments and isinstance(arguments[0], View):
        return arguments[0]
    if function == TENSOR and len(arguments) in (6, 7) and isinstance(arguments[0], Storage):
        return _view(*arguments[:4])
    raise Unreadable(f"refused: the file calls {function.name} in a way that no checkpoint does")


def _view(storage: Storage, offset: Any, size: Any, stride: Any) -> View:
    if type(size) is not tuple or type(stride) is not tuple or not len(size) == len(stride) <= MOST_DIMENSIONS:
        raise Unreadable("a tensor without size and strides")
    if not all(type(number) is int and number >= 0 for number in (offset, *size, *stride)):
        raise Unreadable("a tensor whose size is no number")
    view = View(storage, offset, size, stride)
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if view.elements and (last >= storage.count or view.elements > storage.count):
        raise Unreadable("a tensor that does not lie within its storage")
    return view


Operation = Callable[[_Machine, Any], Any]


def _constant(value: Any) -> Operation:
    return lambda machine, _: machine.stack.append(value)


def _tuple(count: int) -> Operation:
    return lambda machine, _: machine.stack.append(tuple(machine.popped(count)))


WITH_VALUE = (
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES"),
)
OPERATIONS: dict[str, Operation] = {
    **dict.fromkeys(WITH_VALUE, _Machine.push),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), lambda m, at: m.memory.update({at: m.stack[-1]})),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda m, at: m.stack.append(m.memory[at])),
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), lambda m, _: None),
    **dict.fromkeys(("REDUCE", "NEWOBJ"), _Machine.call),
    "MEMOIZE": lambda m, _: m.memory.update({len(m.memory): m.stack[-1]}),
    "NONE": _constant(None),
    "NEWTRUE": _constant(True),
    "NEWFALSE": _constant(False),
    "EMPTY_TUPLE": _constant(()),
    "TUPLE1": _tuple(1),
    "TUPLE2": _tuple(2),
    "TUPLE3": _tuple(3),
    "EMPTY_LIST": lambda m, _: m.stack.append([]),
    "EMPTY_DICT": lambda m, _: m.stack.append({}),
    "MARK": _Machine.mark,
    "TUPLE": lambda m, _: m.push(tuple(m.marked())),
    "APPEND": lambda m, _: m.extend(m.popped(1)),
    "APPENDS": lambda m, _: m.extend(m.marked()),
    "SETITEM": lambda m, _: m.enter(m.popped(2)),
    "SETITEMS": lambda m, _: m.enter(m.marked()),
    "GLOBAL": lambda m, both: m.name(*both.split(" ", 1)),
    "STACK_GLOBAL": lambda m, _: m.name(*m.popped(2)),
    "BINPERSID": _Machine.storage,
    "BUILD": _Machine.build,
}


def plain_options(found: Any) -> dict[str, Any]:
    """The values of a namespace, copied: text, numbers, lists and mappings of them, and enum members.

    Raises Unreadable if it is no namespace, or holds something else, too much or too deep.
    """
    left = [MOST_VALUES]

    def copied(value: Any, depth: int) -> Any:
        """The value at this depth, of plain values alone."""
        left[0] -= 1
        if depth > DEEPEST or left[0] < 0:
            raise Unreadable(f"options of more than {MOST_VALUES:,} values, or nested deeper than {DEEPEST}")
        if type(value) in (list, tuple):
            return [copied(item, depth + 1) for item in value]
        if type(value) is dict:
            return {str(key): copied(item, depth + 1) for key, item in value.items()}
        if type(value) not in (*KEYS, Inert):
            raise Unreadable("options that are neither text nor numbers")
        return value

    if not isinstance(found, Namespace):
        raise Unreadable("its 'args' are no options")
    copy: dict[str, Any] = copied(found.values, 0)
    return copy
