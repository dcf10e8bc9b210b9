"""Which files of a folder hold a split, and what is there where they are missing."""

import os
import stat
from pathlib import Path

from core.errors import UserError

NAMES = {"train": ("train",), "valid": ("valid", "val", "dev", "validation"), "test": ("test",)}
"""What the files of a split may be called, the usual name first."""
SPLIT = "split"
"""The key of data.jsonl that says which split a row belongs to."""
SHOWN = 8

KINDS = {
    stat.S_IFDIR: "is a folder",
    stat.S_IFIFO: "is a named pipe, which can be read only once",
    stat.S_IFSOCK: "is a socket",
    stat.S_IFCHR: "is a device",
    stat.S_IFBLK: "is a device",
}


def not_a_file(path: Path) -> str | None:
    """What stands at a path in place of a file; None for a file, and where nothing is."""
    try:
        kind = stat.S_IFMT(path.stat().st_mode)
    except ValueError:
        return "has a name that no file can have"
    except OSError as error:
        if os.path.islink(path):
            where = f"is a link to {os.readlink(path)}"
            return f"{where}, which does not exist" if isinstance(error, FileNotFoundError) else f"{where}, a circle"
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        return None if missing else f"cannot be read: {error.strerror}"
    return KINDS.get(kind)


def find(folder: Path, name: str) -> Path | None:
    """The file of that name, or the one with .gz after it; None if there is neither.

    Raises UserError if both are there, and on what is no file.
    """
    plain, packed = folder / name, folder / f"{name}.gz"
    for path in (plain, packed):
        if said := not_a_file(path):
            raise UserError(f"{path} {said}; put the text itself there")
    if plain.is_file() and packed.is_file():
        raise UserError(f"both {plain} and {packed.name} exist; remove the one that is not to be used")
    return plain if plain.is_file() else packed if packed.is_file() else None


def there(folder: Path, name: str) -> bool:
    """Whether anything has that name, packed or not."""
    return any(os.path.lexists(folder / each) for each in (name, f"{name}.gz"))


def files_of(folder: Path, split: str, src: str, tgt: str) -> tuple[Path, Path]:
    """Source and target file of a split; twice the same one where both sides stand in a file of JSON lines.

    Raises UserError if they are missing, and if several may be meant.
    """
    for suffixes in ((src, tgt), ("jsonl",)):
        named = [each for each in NAMES[split] if any(there(folder, f"{each}.{suffix}") for suffix in suffixes)]
        if len(named) > 1 and split not in named:
            several = " and ".join(f"{each}.{suffixes[0]}" for each in named)
            raise UserError(f"{folder}: {several} may both be meant for {split}; rename the one that is to be used")
        if named:
            name = split if split in named else named[0]
            found = [_wanted(folder, split, f"{name}.{suffix}") for suffix in suffixes]
            return found[0], found[-1]
    own = [path.name for path in folder.iterdir() if path.name.startswith(tuple(NAMES))]
    if not own and (whole := find(folder, "data.jsonl")):
        return whole, whole
    return _wanted(folder, split, f"{split}.{src}"), _wanted(folder, split, f"{split}.{tgt}")


def _wanted(folder: Path, split: str, name: str) -> Path:
    """The file of that name. Raises UserError if there is none, saying what is there."""
    found = find(folder, name)
    if found is None:
        raise UserError(f"{folder / name} does not exist, nor {name}.gz. {what_is_there(folder, split)}")
    return found


def what_is_there(folder: Path, split: str) -> str:
    """A sentence on the suffixes that a folder has for a split, or else on its files."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    plain = [name.removesuffix(".gz") for name in names]
    for each in NAMES[split]:
        suffixes = {name.removeprefix(f"{each}.") for name in plain if name.startswith(f"{each}.")}
        if not suffixes:
            continue
        if len(suffixes) == 1:
            sides = f"{each}.SRC and {each}.TGT, or one file of JSON lines, {each}.jsonl"
            return f"Of {each} only {each}.{suffixes.pop()} is there; a text has two sides: {sides}."
        return f"Suffixes of {each} there: {', '.join(sorted(suffixes))}; choose with the options src and tgt."
    said = f"The folder has no {split} files; it should hold train.SRC, train.TGT, valid.SRC, ... (or .gz)"
    said += f", or {split}.jsonl."
    if not names:
        return f"{said} It holds no file."
    listed = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
    near = [name for name in names if name.startswith((split[:3], *NAMES[split]))]
    way = f"; rename or link those that are to be used, such as {near[0]} to {_renamed(near[0], split)}" if near else ""
    return f"{said} There: {listed}{way}."


def _renamed(name: str, split: str) -> str:
    """The name with all before its suffix replaced by the split's."""
    packed = ".gz" if name.endswith(".gz") else ""
    return f"{split}.{name.removesuffix(packed).rpartition('.')[2]}{packed}"
