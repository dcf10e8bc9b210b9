"""Whether a value read from a file is of a kind: one check for all that others wrote.

A kind is a type (float takes whole numbers, int no truth values), `A | B`, `list[A]`, `dict[str, A]`, Any, a TypedDict
(of its keys those that are required must be there; keys it does not name may hold anything), or Name.
"""

import re
import types
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NewType, Union, get_args, get_origin, get_type_hints, is_typeddict

Name = NewType("Name", str)
"""A text that can name one file or folder, and no place elsewhere."""

UNIONS = (types.UnionType, Union)
"""Python has two origins for `A | B`: with a Name in it, or from an annotation, it is the second."""

WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false", type(None): "null"}
WORDS |= {Name: "a name", list: "a list", dict: "a mapping"}
HIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
"""Controls, line separators, bidi overrides and isolates, surrogates."""


def printable(text: str) -> str:
    """The text as a terminal may have it: what could move, colour or forge there spelled out, such as ⟨U+001B⟩."""
    return HIDDEN.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", text)


def is_name(text: str) -> bool:
    """Whether a text names one file or folder: no path, no control character, not too long for a file system."""
    plain = text not in ("", ".", "..") and not re.search(r"[/\\\0]", text) and not HIDDEN.search(text)
    return plain and "\n" not in text and "\t" not in text and len(text.encode("utf-8", "replace")) <= 255


def misfit(value: Any, kind: Any, where: str = "") -> str:
    """What is wrong with the value: '`config.lr` is text, not a number'; empty if nothing. where: the key above it."""
    if test_of(kind)(value):
        return ""
    if is_typeddict(kind):
        return _fields(value, kind, where)
    origin, inner = get_origin(kind), get_args(kind)
    if origin in UNIONS:
        found = [misfit(value, each, where) for each in inner]
        return "" if "" in found else _nearest(value, inner, found, where)
    if origin is list and isinstance(value, list):
        return next(filter(None, (misfit(each, inner[0], f"{where}[{i}]") for i, each in enumerate(value))), "")
    if origin is dict and isinstance(value, dict):
        return next(filter(None, (misfit(each, inner[1], _below(where, name)) for name, each in value.items())), "")
    return "" if test_of(kind)(value) else f"`{where}` is {_said(value)}, not {_words(kind)}"


TYPES: dict[Any, frozenset[type]] = {each: frozenset([each]) for each in (str, int, bool, list, dict, type(None))}
TYPES |= {float: frozenset([float, int])}
"""The types of JSON values that are of a kind."""


@lru_cache
def test_of(kind: Any) -> Callable[[Any], bool]:
    """Whether a value is of a kind, as a function: made once for each kind, for it is called very often."""
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return lambda value: True
    if kind is Name:
        return lambda value: isinstance(value, str) and is_name(value)
    if is_typeddict(kind):
        return _fields_test(kind)
    if kind in TYPES:
        return _types_test(TYPES[kind])
    if origin in UNIONS and all(each in TYPES for each in inner):
        return _types_test(frozenset().union(*(TYPES[each] for each in inner)))
    tests = [test_of(each) for each in inner]
    if origin in UNIONS:
        return lambda value: any(test(value) for test in tests)
    if origin is list:
        return lambda value: isinstance(value, list) and all(map(tests[0], value))
    return lambda value: isinstance(value, dict) and all(map(tests[1], value.values()))


def _types_test(fit: frozenset[type]) -> Callable[[Any], bool]:
    return lambda value: type(value) in fit


def _fields_test(kind: Any) -> Callable[[Any], bool]:
    fields = {name: test_of(inner) for name, inner in get_type_hints(kind).items()}
    required = kind.__required_keys__

    def test(value: Any) -> bool:
        return (
            isinstance(value, dict)
            and required <= value.keys()
            and all(fields[name](each) for name, each in value.items() if name in fields)
        )

    return test


def _fields(value: Any, kind: Any, where: str) -> str:
    if not isinstance(value, dict):
        return f"`{where}` is {_said(value)}, not a mapping" if where else f"it is {_said(value)}, not a mapping"
    for name, inner in get_type_hints(kind).items():
        if name in value:
            if wrong := misfit(value[name], inner, _below(where, name)):
                return wrong
        elif name in kind.__required_keys__:
            return f"`{_below(where, name)}` is missing"
    return ""


def _below(where: str, name: str) -> str:
    return printable(f"{where}.{name}" if where else name)


def _nearest(value: Any, kinds: tuple[Any, ...], found: list[str], where: str) -> str:
    """What is wrong within a list or mapping if one was asked for and is there, else that it is none of the kinds."""
    shapes = [(kind, said) for kind, said in zip(kinds, found, strict=True) if _shape(kind) is type(value)]
    if shapes:
        return shapes[0][1]
    return f"`{where}` is {_said(value)}, not {' or '.join(map(_words, kinds))}"


def _shape(kind: Any) -> Any:
    return dict if is_typeddict(kind) else get_origin(kind)


def _words(kind: Any) -> str:
    return WORDS.get(_shape(kind) or kind, str(kind))


def _said(value: Any) -> str:
    """A value in a message: what it is, or itself if it is short."""
    if value is None or isinstance(value, list | dict):
        return WORDS[type(value)]
    text = printable(repr(value))
    return text if len(text) <= 40 else WORDS[type(value)]
