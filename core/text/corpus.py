"""Parallel text: the embedded corpus, or a folder of {train,valid,test}.{src,tgt}[.gz], UTF-8, a sentence a line; or of
{train,valid,test}.jsonl[.gz] with a key for each side.
"""

import hashlib
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from core.errors import UserError
from core.memory import memory, shown
from core.reading import Unreadable, gunzip
from core.sections import DataConfig
from core.text import findings, json_lines, pieces, places, synthetic
from core.text.findings import SIDES, Findings
from core.text.lines import Lines, check_line_ends
from core.text.origin import Lineage
from core.text.origin import read as read_lineage
from core.text.references import files_of, grouped, of_pairs

Pairs = list[tuple[str, str]]
SPLITS = ("train", "valid", "test")
LONGEST_WORD = 10_000
"""Characters without a blank from which on a pair is left out: no sentence has such a word, and BPE is slow on it."""
TIMES = 3
"""Text is there as bytes, as lines and as pairs before anything else is made of it."""
LONG = re.compile(rf"\S{{{LONGEST_WORD + 1}}}")


@dataclass(frozen=True)
class Corpus:
    """Three splits of (source, target) sentences.

    digest: names the content. dropped: {why: number of pairs} left out in reading. word_level: words are separated by
    spaces and few, so the tokenizer need not split them. lineage: what corpus.json says of where the text comes from.
    found: what stands out in it; empty for the embedded corpus.
    references: {split: all references of each pair}, the target among them, of held-out splits that have more than it.
    """

    name: str
    train: Pairs
    valid: Pairs
    test: Pairs
    digest: str
    dropped: dict[str, int] = field(default_factory=dict)
    word_level: bool = False
    lineage: Lineage | None = None
    found: Findings = field(default_factory=dict)
    references: dict[str, list[list[str]]] = field(default_factory=dict)


def load(config: DataConfig) -> Corpus:
    """The corpus that the options name.

    Raises UserError, naming file and line, on text that cannot be used.
    """
    if config.train_limit < 0:
        raise UserError(f"option train_limit: {config.train_limit} is negative; 0 = all pairs")
    if config.undo_bpe and config.data is None:
        raise UserError("option undo_bpe: joins the pieces of a text in a folder; name it by the option data")
    text = embedded(config) if config.data is None else read_folder(config)
    for split in SPLITS:
        check_fits(split, getattr(text, split), config.max_length)
    return text


def check_fits(split: str, pairs: Pairs, max_length: int) -> None:
    """Raises UserError if no pair can fit into max_length tokens, of which each word is one at the least."""
    if not any(len(one.split()) < max_length and len(two.split()) < max_length - 1 for one, two in pairs):
        raise UserError(f"{split}: none of the {len(pairs)} pairs fits into {max_length} tokens; raise max_length")


def say(text: Corpus) -> None:
    """Say on stderr what stands out in a text."""
    for sentence in text.found.get("said", ()):
        print(f"{text.name}: {sentence}", file=sys.stderr)


def embedded(config: DataConfig) -> Corpus:
    """The corpus written by core.text.synthetic."""
    train, valid, test = synthetic.generate(config)
    name = f"embedded ({config.corpus_variant})"
    return Corpus(name, train[: config.train_limit or None], valid, test, digest(config), word_level=True)


def read_folder(config: DataConfig) -> Corpus:
    """The corpus in the folder config.data."""
    files, dropped = split_files(config), dict[str, int]()
    check_memory(sum(path.stat().st_size for pair in files.values() for path in set(pair)), config)
    sides = {split: read_sides(split, *files[split], config) for split in SPLITS}
    sides, cuts = whole_words(sides, config.undo_bpe)
    splits = {split: read_split(split, *sides[split], dropped) for split in SPLITS}
    splits["train"] = splits["train"][: config.train_limit or None]
    named = [str(side.key or suffix) for side, suffix in zip(sides["train"], (config.src, config.tgt), strict=True)]
    name = f"{folder_of(config).resolve().name} {'-'.join(named)}"
    more = reference_files(files, config.tgt)
    references = {
        split: read_references(sides[split][1], paths, splits[split], config.undo_bpe) for split, paths in more.items()
    }
    text = {
        path.name.removesuffix(".gz"): read_bytes(path) for pair in (*files.values(), *more.values()) for path in pair
    }
    made = read_lineage(folder_of(config), text)
    found = findings.counted(splits) | findings.forms(sides.values()) | cuts | {"read_from": unusual_names(files)}
    found["said"] = findings.sentences(found, {split: len(pairs) for split, pairs in splits.items()})
    train, valid, test = splits.values()
    return Corpus(name, train, valid, test, digest(config), dropped, lineage=made, found=found, references=references)


def check_memory(size: int, config: DataConfig) -> None:
    """Raises UserError if text of so many bytes cannot fit into the machine's memory."""
    if (there := memory()) is not None and TIMES * size > there:
        needed = f"asks for {shown(TIMES * size)} of memory at the least, and this machine has {shown(there)}"
        raise UserError(f"option data: {config.data}: its {shown(size)} of text {needed}; take a part of it")


def digest(config: DataConfig) -> str:
    """16 hexadecimal digits over the (decompressed) bytes of all files; for the embedded corpus, its version.

    Raises UserError on a missing or unreadable file.
    """
    if config.data is None:
        return f"embedded-{synthetic.VERSION}"
    seen, files = hashlib.sha256(), split_files(config)
    for pair in files.values():
        for path in pair:
            seen.update(hashlib.sha256(read_bytes(path)).digest())
        if pair[0] == pair[1]:
            seen.update(f"{config.src} {config.tgt}".encode())
    for split, found in reference_files(files, config.tgt).items():
        for path in found:
            name = path.name.removesuffix(".gz").rpartition(".")[2]
            seen.update(hashlib.sha256(f"{split}.{name}\n".encode() + read_bytes(path)).digest())
    return seen.hexdigest()[:16]


def reference_files(files: Mapping[str, tuple[Path, Path]], suffix: str) -> dict[str, list[Path]]:
    """{held-out split: its files of more references}, of splits that have some."""
    found = {split: files_of(files[split][1], suffix) for split in SPLITS[1:]}
    return {split: paths for split, paths in found.items() if paths}


def read_references(target: Lines, files: list[Path], pairs: Pairs, undo_bpe: bool) -> list[list[str]]:
    """All references of each pair of a held-out split, the target among them."""
    sides = {path: Lines(path, range(1, len(text) + 1), text) for path in files for text in [read_lines(path)]}
    for side in sides.values():
        cut, where = pieces.cut_of([side])
        if cut is not None and not undo_bpe:
            raise UserError(in_pieces(where, cut))
    read = {path: list(map(pieces.whole, side.text)) if undo_bpe else side.text for path, side in sides.items()}
    return of_pairs(grouped(target.file, target.text, read), target.text, [two for _, two in pairs])


def folder_of(config: DataConfig) -> Path:
    """The folder of the text; UserError if it is none."""
    try:
        folder = Path(config.data or "").expanduser()
    except RuntimeError as error:
        raise UserError(f"option data: {config.data}: {error}; name the folder in full") from None
    if not os.path.isdir(folder):
        said = places.not_a_file(folder) or ("is not a folder" if os.path.exists(folder) else None)
        if said is None:
            raise UserError(f"option data: the folder {folder} does not exist")
        raise UserError(f"option data: {folder} {said}; it should be a folder with train, valid and test files")
    return folder


def split_files(config: DataConfig) -> dict[str, tuple[Path, Path]]:
    """{split: (source file, target file)}, twice the same for a file of JSON lines; UserError if one is missing."""
    folder = folder_of(config)
    if config.src == config.tgt:
        raise UserError(f"options src and tgt are both {config.src!r}; they name the two sides of the text")
    return {split: places.files_of(folder, split, config.src, config.tgt) for split in SPLITS}


def unusual_names(files: Mapping[str, tuple[Path, Path]]) -> dict[str, str]:
    """{split: its files} of splits that are not called by their own name."""
    other = {split: pair for split, pair in files.items() if not pair[0].name.startswith(f"{split}.")}
    return {split: " and ".join(dict.fromkeys(path.name for path in pair)) for split, pair in other.items()}


def read_bytes(path: Path) -> bytes:
    """The content of a file, decompressed; UserError if it cannot be read."""
    try:
        content = path.read_bytes()
        return gunzip(content) if path.suffix == ".gz" else content
    except Unreadable as error:
        raise UserError(f"{path}: {error}; fetch or pack it again") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


def decoded(path: Path) -> str:
    """The text of a UTF-8 file without byte order mark. Raises UserError naming line and byte of what is not UTF-8."""
    content = read_bytes(path).removeprefix(b"\xef\xbb\xbf")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line, start = content.count(b"\n", 0, error.start) + 1, content.rfind(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}, line {line}, byte {error.start - start + 1}: not UTF-8 "
            f"(0x{content[error.start]:02x}: {error.reason}); convert the file to UTF-8"
        ) from None


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 file without line ends (LF or CRLF) and byte order mark, otherwise as they are."""
    text = decoded(path)
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")] if text else []


def read_sides(split: str, source: Path, target: Path, config: DataConfig) -> tuple[Lines, Lines]:
    """Both sides of a split, line by line. Raises UserError on unequal line counts, and on lines that end with CR."""
    if source == target:
        return json_lines.sides_of(source, decoded(source), split, config.src, config.tgt)
    one, two = (Lines(path, range(1, len(text) + 1), text) for path in (source, target) for text in [read_lines(path)])
    for side in (one, two):
        check_line_ends(side.file, side.text)
    if len(one.text) != len(two.text):
        counts = f"{source} has {len(one.text)} lines, {target.name} has {len(two.text)}"
        raise UserError(f"{counts}; line n of one must be the translation of line n of the other")
    return one, two


def whole_words(
    sides: Mapping[str, tuple[Lines, Lines]], undo: bool
) -> tuple[dict[str, tuple[Lines, Lines]], dict[str, dict[str, str]]]:
    """The splits, with pieces of words joined if `undo`; and {'joined', 'cut': {side: mark of its pieces}}.

    Raises UserError on targets in pieces that are not to be joined, and if there is nothing to join.
    """
    found: dict[str, dict[str, str]] = {"joined": {}, "cut": {}}
    made = {split: list(pair) for split, pair in sides.items()}
    for place, side in enumerate(SIDES):
        cut, where = pieces.cut_of([pair[place] for pair in sides.values()], at_all=undo)
        if cut is None:
            continue
        if not undo and side == "target":
            raise UserError(in_pieces(where, cut))
        found["joined" if undo else "cut"][side] = cut.name
        for pair in made.values() if undo else ():
            whole = [cut.join(line) if cut.name in line else line for line in pair[place].text]
            pair[place] = replace(pair[place], text=whole)
    if undo and not found["joined"]:
        raise UserError("option undo_bpe: the text holds no pieces of words (@@, \u2581, ##); leave the option out")
    return {split: (one, two) for split, (one, two) in made.items()}, found


def in_pieces(where: str, cut: pieces.Cut) -> str:
    """What is said of targets whose words are cut."""
    return (
        f"{where}: the words of the targets are cut into pieces ({cut.name}), whose scores are no scores of words; "
        "undo_bpe joins them in reading (--undo_bpe True, make: ARGS='--set undo_bpe=true')"
    )


def read_split(split: str, source: Lines, target: Lines, dropped: dict[str, int]) -> Pairs:
    """The pairs of two sides. Those with a word of more than LONGEST_WORD characters, and training pairs with an empty
    side, are left out and counted in `dropped`.

    Raises UserError on an empty side of a held-out pair, and if no pair is left.
    """
    pairs = list(zip(source.text, target.text, strict=True))
    empty = [i for i, (one, two) in enumerate(pairs) if not one or not two or one.isspace() or two.isspace()]
    long = [i for i, (one, two) in enumerate(pairs) if len(one) > LONGEST_WORD or len(two) > LONGEST_WORD]
    long = [i for i in long if i not in empty and any(map(LONG.search, pairs[i]))]
    if empty and split != "train":
        side = source if _is_empty(source.text[empty[0]]) else target
        raise UserError(f"{side.where(empty[0])} is empty; fill it, or remove it from both files")
    too_long = f"a word has more than {LONGEST_WORD:,} characters"
    for why, where, wrong in (("a side is empty", empty, _is_empty), (too_long, long, LONG.search)):
        for index in where[:1]:
            side = source if wrong(source.text[index]) else target
            dropped[f"{split}: {why} (first: {side.file.name} line {side.numbers[index]})"] = len(where)
    left_out = {*empty, *long}
    kept = [pair for index, pair in enumerate(pairs) if index not in left_out] if left_out else pairs
    if not kept:
        reasons = "".join(f"; {why}: {number}" for why, number in dropped.items() if why.startswith(split))
        both = f"{source.file} and {target.file.name} hold" if source.file != target.file else f"{source.file} holds"
        raise UserError(f"{both} no sentence pair of {split}{reasons}")
    return kept


def _is_empty(text: str) -> bool:
    return not text.strip()
