"""Parallel text: the embedded corpus, or a folder of {train,valid,test}.{src,tgt}[.gz], UTF-8, a sentence a line."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from core.errors import UserError
from core.reading import Unreadable, gunzip
from core.sections import DataConfig
from core.text import synthetic
from core.text.origin import Lineage
from core.text.origin import read as read_lineage

Pairs = list[tuple[str, str]]
SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Corpus:
    """Three splits of (source, target) sentences.

    digest: names the content. dropped: {why: number of pairs} left out in reading. word_level: words are separated by
    spaces and few, so the tokenizer need not split them. lineage: what corpus.json says of where the text comes from.
    """

    name: str
    train: Pairs
    valid: Pairs
    test: Pairs
    digest: str
    dropped: dict[str, int] = field(default_factory=dict)
    word_level: bool = False
    lineage: Lineage | None = None


def load(config: DataConfig) -> Corpus:
    """The corpus that the options name.

    Raises UserError, naming file and line, on text that cannot be used.
    """
    if config.train_limit < 0:
        raise UserError(f"option train_limit: {config.train_limit} is negative; 0 = all pairs")
    return embedded(config) if config.data is None else read_folder(config)


def embedded(config: DataConfig) -> Corpus:
    """The corpus written by core.text.synthetic."""
    train, valid, test = synthetic.generate(config)
    name = f"embedded ({config.corpus_variant})"
    return Corpus(name, train[: config.train_limit or None], valid, test, digest(config), word_level=True)


def read_folder(config: DataConfig) -> Corpus:
    """The corpus in the folder config.data."""
    files, dropped = split_files(config), dict[str, int]()
    train, valid, test = (read_split(split, *files[split], dropped) for split in SPLITS)
    name = f"{folder_of(config).resolve().name} {config.src}-{config.tgt}"
    text = {path.name.removesuffix(".gz"): read_bytes(path) for pair in files.values() for path in pair}
    made = read_lineage(folder_of(config), text)
    return Corpus(name, train[: config.train_limit or None], valid, test, digest(config), dropped, lineage=made)


def digest(config: DataConfig) -> str:
    """16 hexadecimal digits over the (decompressed) bytes of all files; for the embedded corpus, its version.

    Raises UserError on a missing or unreadable file.
    """
    if config.data is None:
        return f"embedded-{synthetic.VERSION}"
    seen = hashlib.sha256()
    for pair in split_files(config).values():
        for path in pair:
            seen.update(hashlib.sha256(read_bytes(path)).digest())
    return seen.hexdigest()[:16]


def folder_of(config: DataConfig) -> Path:
    """The folder of the text; UserError if it is none."""
    folder = Path(config.data or "").expanduser()
    if not folder.exists():
        raise UserError(f"option data: the folder {folder} does not exist")
    if not folder.is_dir():
        raise UserError(f"option data: {folder} is not a folder; it should hold train, valid and test files")
    return folder


def split_files(config: DataConfig) -> dict[str, tuple[Path, Path]]:
    """{split: (source file, target file)}; UserError if one is missing."""
    folder = folder_of(config)
    if config.src == config.tgt:
        raise UserError(f"options src and tgt are both {config.src!r}; they name the two sides of the text")
    return {split: (find(folder, split, config.src), find(folder, split, config.tgt)) for split in SPLITS}


def find(folder: Path, split: str, suffix: str) -> Path:
    """The file split.suffix or split.suffix.gz; UserError if there is none, or both."""
    plain, packed = folder / f"{split}.{suffix}", folder / f"{split}.{suffix}.gz"
    if plain.is_file() and packed.is_file():
        raise UserError(f"both {plain} and {packed.name} exist; remove the one that is not to be used")
    if not plain.is_file() and not packed.is_file():
        raise UserError(f"{plain} does not exist, nor {packed.name}. {what_is_there(folder, split)}")
    return plain if plain.is_file() else packed


def what_is_there(folder: Path, split: str) -> str:
    """A sentence on the suffixes that a folder has for a split."""
    names = [path.name.removesuffix(".gz") for path in folder.iterdir() if path.is_file()]
    suffixes = sorted({name.removeprefix(f"{split}.") for name in names if name.startswith(f"{split}.")})
    if suffixes:
        return f"Suffixes of {split} there: {', '.join(suffixes)}; choose with the options src and tgt."
    return f"The folder has no {split} files; it should hold train.SRC, train.TGT, valid.SRC, ... (or .gz)."


def read_bytes(path: Path) -> bytes:
    """The content of a file, decompressed; UserError if it cannot be read."""
    try:
        content = path.read_bytes()
        return gunzip(content) if path.suffix == ".gz" else content
    except Unreadable as error:
        raise UserError(f"{path}: {error}; fetch or pack it again") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 file without line ends (LF or CRLF) and byte order mark, otherwise as they are."""
    content = read_bytes(path).removeprefix(b"\xef\xbb\xbf")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line, start = content.count(b"\n", 0, error.start) + 1, content.rfind(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}, line {line}, byte {error.start - start + 1}: not UTF-8 "
            f"(0x{content[error.start]:02x}: {error.reason}); convert the file to UTF-8"
        ) from None
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")] if text else []


def read_split(split: str, source: Path, target: Path, dropped: dict[str, int]) -> Pairs:
    """The pairs of two files. Training pairs with an empty side are dropped and counted in `dropped`.

    Raises UserError on unequal line counts, an empty side of a held-out pair, no pairs.
    """
    sides = read_lines(source), read_lines(target)
    if len(sides[0]) != len(sides[1]):
        counts = f"{source} has {len(sides[0])} lines, {target.name} has {len(sides[1])}"
        raise UserError(f"{counts}; line n of one must be the translation of line n of the other")
    pairs = list(zip(*sides, strict=True))
    kept = [(one, two) for one, two in pairs if one.strip() and two.strip()]
    if len(kept) < len(pairs):
        number, pair = next((n, pair) for n, pair in enumerate(pairs, 1) if not (pair[0].strip() and pair[1].strip()))
        file = target if pair[0].strip() else source
        if split != "train":
            raise UserError(f"{file}, line {number} is empty; fill it, or remove it from both files")
        dropped[f"{split}: a side is empty (first: {file.name} line {number})"] = len(pairs) - len(kept)
    if not kept:
        raise UserError(f"{source} and {target.name} hold no sentence pair")
    return kept
