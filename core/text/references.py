"""More references of held-out splits: NAME.ref0, NAME.ref1, ... (or .gz) beside the target side NAME.SUFFIX, a line for
each of its lines, a blank one for none.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from core.errors import UserError
from core.text.places import not_a_file


def files_of(target: Path, suffix: str) -> list[Path]:
    """The files of more references beside a target side, by their numbers. Raises UserError if one is there
    twice, or is no file."""
    name = target.name.removesuffix(".gz").removesuffix(f".{suffix}")
    found: dict[str, Path] = {}
    for path in sorted(target.parent.iterdir()):
        plain = path.name.removesuffix(".gz")
        if not re.fullmatch(rf"{re.escape(name)}\.ref\d+", plain) or plain == f"{name}.{suffix}":
            continue
        if said := not_a_file(path):
            raise UserError(f"{path} {said}; put the references themselves there, or remove it")
        if plain in found:
            raise UserError(f"both {found[plain]} and {path.name} exist; remove the one that is not to be used")
        found[plain] = path
    return sorted(found.values(), key=lambda path: int(path.name.removesuffix(".gz").rpartition(".ref")[2]))


def grouped(target: Path, targets: Sequence[str], others: Mapping[Path, Sequence[str]]) -> list[list[str]]:
    """All references of each line: those of the files that are not blank, and its target unless it is among them.

    others: the lines of each file. Raises UserError on unequal numbers of lines.
    """
    for path, lines in others.items():
        if len(lines) != len(targets):
            raise UserError(
                f"{path} has {len(lines)} lines, {target.name} has {len(targets)}; line n of one must be another "
                "reference for line n of the other, or empty"
            )
    groups = [[text for text in group if text.strip()] for group in zip(*others.values(), strict=True)]
    return [group if one in group else [one, *group] for one, group in zip(targets, groups, strict=True)]


def of_pairs(groups: Sequence[list[str]], targets: Sequence[str], kept: Sequence[str]) -> list[list[str]]:
    """The references of the pairs that are left of a split: `kept`, their targets, are in the order of all `targets`.

    Raises UserError where they are not the same texts any more.
    """
    lines = iter(zip(targets, groups, strict=True))
    found = [next((group for target, group in lines if target == one), None) for one in kept]
    if None in found:
        raise UserError(f"the target {kept[found.index(None)]!r} was changed in reading, but its references were not")
    return [group for group in found if group is not None]
