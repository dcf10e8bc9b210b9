"""Many small tables below each other as one frame: a frame of each alone costs far more than its rows."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

Columns = Mapping[str, np.ndarray]
"""Numbers by name, [rows] each."""


def under_heads(heads: Sequence[Mapping[str, Any]], parts: Sequence[Columns]) -> pd.DataFrame:
    """The rows of all parts, those of the first part first, each row with the head of its part before it.

    The columns of the heads are those of the first; a number that a part lacks is NaN.
    """
    counts = [len(next(iter(part.values()), ())) for part in parts]
    names = list(dict.fromkeys(name for part in parts for name in part))
    columns = {
        name: np.concatenate([_column(part, name, count) for part, count in zip(parts, counts, strict=True)])
        for name in names
    }
    above = pd.DataFrame(list(heads)).take(np.repeat(np.arange(len(heads)), counts)).reset_index(drop=True)
    return pd.concat([above, pd.DataFrame(columns)], axis=1)


def _column(part: Columns, name: str, count: int) -> np.ndarray:
    return part[name] if name in part else np.full(count, np.nan)
