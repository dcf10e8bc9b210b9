"""Options as frozen dataclasses in sections, seen as one flat mapping name -> value, set and checked by name."""

import dataclasses
import difflib
import types
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from core.errors import UserError
from core.reading import parse_json

T = TypeVar("T")
NEVER_SET = object()
AS_BEFORE = "as_before"


def added(default: Any, as_before: Any = NEVER_SET) -> Any:
    """A field for an option that is added later: at `as_before` (its default, if not said) a run is what it was without
    the option, so its identity is too."""
    return dataclasses.field(default=default, metadata={AS_BEFORE: default if as_before is NEVER_SET else as_before})


@dataclass(frozen=True)
class MethodOptions:
    """The options that one method reads, in sections. To be subclassed as `Options` in the method's file.

    The section `decoding` holds what a trained model does not depend on; it may be absent.
    """

    @property
    def name(self) -> str:
        """The method's name: that of its file in core/methods/."""
        return type(self).__module__.rpartition(".")[2].removesuffix("_options")

    @property
    def one_stack(self) -> bool:
        """Whether source and target pass through one stack of layers (encoder_layers + decoder_layers of them)."""
        return False

    def check(self) -> None:
        """Raises UserError on values that do not go together, beyond what RULES of core/checks.py say of each."""


def is_section(value: Any) -> bool:
    """Whether a field's value is a group of options."""
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def fields_of(options: Any) -> Iterator[tuple[dataclasses.Field[Any], Any]]:
    """(field, value) of each option of a section, or of all sections within it."""
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if is_section(value):
            yield from fields_of(value)
        else:
            yield field, value


def values_of(options: Any, all_of_them: bool = False) -> dict[str, Any]:
    """name -> value. Options added later are left out at the value that means "as before", unless all are wanted."""
    return {
        field.name: value
        for field, value in fields_of(options)
        if all_of_them or AS_BEFORE not in field.metadata or value != field.metadata[AS_BEFORE]
    }


def as_before(options: Any) -> dict[str, Any]:
    """name -> the value that means "as before", of each option that was added later."""
    return {field.name: field.metadata[AS_BEFORE] for field, _ in fields_of(options) if AS_BEFORE in field.metadata}


def replaced(options: T, values: Mapping[str, Any]) -> T:
    """The options with some set by name; names that are not among them are left alone.

    Raises UserError on a value outside its type or choices.
    """
    hints = get_type_hints(type(options))
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(options):  # type: ignore[arg-type]
        value = getattr(options, field.name)
        if is_section(value):
            changes[field.name] = replaced(value, values)
        elif field.name in values:
            changes[field.name] = checked(field.name, values[field.name], hints[field.name])
    return dataclasses.replace(options, **changes)  # type: ignore[type-var]


def annotation_of(options: Any, name: str) -> Any:
    """The type of the option of that name; None if there is none."""
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if is_section(value):
            if (found := annotation_of(value, name)) is not None:
                return found
        elif field.name == name:
            return get_type_hints(type(options))[name]
    return None


def nearest(name: str, known: Collection[str]) -> str:
    """' Did you mean X?' for the closest known name, or the list of them."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else f" Known: {', '.join(sorted(known))}."


def checked(name: str, value: Any, annotation: Any) -> Any:
    """The value if it fits the field's annotation (integers pass as floats). Raises UserError otherwise."""
    if get_origin(annotation) in (Union, types.UnionType):
        members = get_args(annotation)
        if value is None and type(None) in members:
            return None
        return checked(name, value, next(m for m in members if m is not type(None)))
    if get_origin(annotation) is Literal:
        if value is None and "none" in get_args(annotation):  # what a command line or a YAML file makes of the word
            return "none"
        if value not in get_args(annotation):
            choices = [str(choice) for choice in get_args(annotation)]
            raise UserError(f"option {name}: {value!r} is not a choice.{nearest(str(value), choices)}")
        return value
    if annotation is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, annotation) or (annotation is int and isinstance(value, bool)):
        raise UserError(f"option {name}: expected {annotation.__name__}, got {value!r}")
    return value


def parse_value(text: str) -> Any:
    """A value as a command line gives it: as in JSON, else words; none, true and false in any case."""
    words = {"none": None, "true": True, "false": False}
    try:
        return words[text.lower()] if text.lower() in words else parse_json(text)
    except ValueError:
        return text


def check_word(name: str, text: str, annotation: Any) -> None:
    """Raises UserError naming the nearest choice if an option has choices, and the text is none of them."""
    members = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
    if text.lower() == "none" and type(None) in members:
        return
    for member in members:
        if get_origin(member) is Literal:
            checked(name, text, member)
