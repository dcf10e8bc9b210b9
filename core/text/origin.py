"""corpus.json: where the text of a corpus folder comes from, if it was made from another corpus.

It never changes what a corpus is: the text alone decides its digest. It says which text it speaks of, so that it cannot
speak of another.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.reading import read_json

FILE = "corpus.json"
Lineage = dict[str, Any]
"""made_by, source (name, digest), and what else the maker says; text: {file: digest}."""


def digest(content: bytes) -> str:
    """16 hexadecimal digits over the (decompressed) bytes of a file."""
    return hashlib.sha256(content).hexdigest()[:16]


def read(folder: Path, text: Mapping[str, bytes]) -> Lineage | None:
    """The lineage of a folder, None if it has no corpus.json. text: {file name without .gz: content}.

    Raises UserError on a file that cannot be read, and on text that is not the one it speaks of.
    """
    path = folder / FILE
    try:
        found = read_json(path)
        source, known = found["source"], found["text"]
        if not (found["made_by"] and source["name"] and source["digest"] and isinstance(known, dict)):
            raise ValueError("something is empty")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: cannot be read as a corpus's lineage ({error!r}); make the corpus again, or remove the file"
        ) from None
    for name, content in text.items():
        if known.get(name) not in (None, digest(content)):
            raise UserError(
                f"{path}: {name} was changed since the corpus was made; make it again, or remove {FILE} "
                "if the text is now your own"
            )
    return found
