"""Embedding norms against token frequency, per arm: the imbalance that the embedding norm is there to remove.

Types are put into bands by their frequency rank in the training targets (1-10, 11-30, 31-100, ...); each band shows
median, quartiles and 5-95% of its types. Types that occur in no target, which are never diffused, are excluded. Upper
row: the table, |sqrt(d_e) E|; lower row: z_0.
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.choices import chosen_panels
from analysis.figures.common import Missing, only_drawn
from analysis.figures.facets import blocks
from analysis.figures.layout import Panel, banner, legend, legend_height, note_height, panel_grid, panels
from analysis.formats import PAGE
from analysis.load import StudyResults
from analysis.mixture import mixture_note
from analysis.results import seeds_text
from analysis.style import Look, arm_handle, arm_labels, arm_style
from analysis.tall import under_heads
from core.run_folder import PROBES

NAME = "embedding_norms"
KINDS = {"norm_raw": r"norm of $\sqrt{d_e}\,E$", "norm": r"norm of $z_0$"}
PANELS = KINDS
QUANTILES = {"p5": 0.05, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95}


def bands(types: int) -> list[tuple[int, int]]:
    """Frequency ranks 1-10, 11-30, 31-100, 101-300, ... up to the number of types, both ends included.

    A last band of fewer than 10 types joins the one before.
    """
    edges = [0]
    for decade in range(1, 9):
        edges += [10**decade, 3 * 10**decade]
    kept = [edge for edge in edges if edge < types]
    if len(kept) > 1 and types - kept[-1] < 10:
        kept.pop()
    return [(low + 1, high) for low, high in zip(kept, [*kept[1:], types], strict=True)]


def tidy(study: StudyResults) -> pd.DataFrame:
    """A row per arm, seed, kind of norm and type of targets: its frequency rank (1 = most frequent) and norm."""
    heads, parts = list[dict[str, Any]](), list[dict[str, np.ndarray]]()
    for record in study.scores[["run", "arm", "label", "seed"]].to_dict("records"):
        probes = study.probes.get(record.pop("run"), {})
        for kind in KINDS:
            if "frequency" in probes and kind in probes and probes[kind].shape == probes["frequency"].shape:
                heads.append(record | {"kind": kind})
                parts.append(_ranked(probes["frequency"], probes[kind]))
    if not parts:
        raise Missing(f"no run has embedding norms in {PROBES}")
    return under_heads(heads, parts)


def _ranked(frequency: np.ndarray, norm: np.ndarray) -> dict[str, np.ndarray]:
    order = np.argsort(-frequency.astype(float), kind="stable")
    order = order[(frequency[order] > 0) & np.isfinite(norm[order])]
    return {"rank": np.arange(1, len(order) + 1), "value": norm[order].astype(float)}


def statistics(frame: pd.DataFrame) -> pd.DataFrame:
    """Quantiles of the norm in each band, over the types of all seeds together."""
    limits = bands(int(frame["rank"].max()))
    numbered = frame.assign(band=np.searchsorted([high for _, high in limits], frame["rank"].to_numpy()))
    keys = ["arm", "label", "kind", "band"]
    rows = []
    for key, values in numbered.groupby(keys, sort=False)["value"]:
        low, high = limits[key[3]]
        row = dict(zip(keys, key, strict=True)) | {"rank_low": low, "rank_high": high, "types": len(values)}
        rows.append(row | {name: float(values.quantile(q)) for name, q in QUANTILES.items()})
    return pd.DataFrame(rows)


def draw(ax: Axes, rows: pd.DataFrame, look: Look, shift: float, width: float) -> None:
    """One arm's bands as boxes: median, quartiles, 5-95%."""
    x = rows["band"].to_numpy(dtype=float) + shift
    face = to_rgba(look.color, 0.4) if look.filled else "white"
    ax.vlines(x, rows["p5"], rows["p95"], color=look.color, linewidth=0.8)
    ax.bar(x, rows["p75"] - rows["p25"], width, bottom=rows["p25"], color=face, edgecolor=look.color, linewidth=0.8)
    ax.hlines(rows["median"], x - width / 2, x + width / 2, color=look.color, linewidth=1.6)


def _label_bands(ax: Axes, stats: pd.DataFrame) -> None:
    limits = stats[["band", "rank_low", "rank_high"]].drop_duplicates().sort_values("band")
    names = [f"{low}-{high}" for low, high in zip(limits["rank_low"], limits["rank_high"], strict=True)]
    ax.set_xticks(limits["band"], names, rotation=55, ha="right", rotation_mode="anchor")


def _box_handle(study: StudyResults, name: str, label: str) -> Line2D:
    look = arm_style(study)[name]
    face = to_rgba(look.color, 0.4) if look.filled else "white"
    return arm_handle(study, name, label, marker="s", linestyle="none", markersize=6, markerfacecolor=face)


def figure(study: StudyResults, width: float | None = None) -> tuple[Figure, pd.DataFrame]:
    """Columns: arms that differ in the embedding norm side by side; rows: norm in the table, norm of z_0."""
    stats = statistics(tidy(study))
    study, kinds = only_drawn(study, stats), [kind for kind in chosen_panels(KINDS) if (stats["kind"] == kind).any()]
    parts = blocks(panels(study, within="embedding_norm", most=4), width or PAGE)
    extra = 0.2 + note_height(0.2) + 0.5 * len(parts) + legend_height(study, width or PAGE)
    rows = len(kinds) * len(parts)
    fig, axes = panel_grid(rows, len(parts[0]), width or PAGE, 1.5 if len(parts) == 1 else 1.2, extra)
    for i, row in enumerate(axes):
        kind, panel_row = kinds[i % len(kinds)], parts[i // len(kinds)]
        _draw_row(row, study, stats, kind, panel_row)
        row[0].sharey(axes[i % len(kinds)][0])
        row[0].set_ylim(0, 1.05 * stats.loc[stats["kind"] == kind, "p95"].max())
        for ax, panel in zip(row, panel_row, strict=False):
            if kind == kinds[0]:
                ax.set_title(panel.title)
            if kind == kinds[-1]:
                _label_bands(ax, stats)
                ax.set_xlabel("frequency rank in targets" if i == rows - 1 or len(parts) == 1 else "")
    legend(fig, [_box_handle(study, name, label) for name, label in arm_labels(study).items()])
    banner(fig, study.banner, f"box: median, quartiles, 5-95% of types; {seeds_text(study)}", mixture_note(study))
    return fig, stats


def _draw_row(row: list[Axes], study: StudyResults, stats: pd.DataFrame, kind: str, part: list[Panel]) -> None:
    """One kind of norm, a panel for each group of arms, on a common y axis."""
    looks = arm_style(study)
    for empty in row[len(part) :]:
        empty.remove()
    for ax, panel in zip(row, part, strict=False):
        width = 0.8 / len(panel.arms)
        for i, arm in enumerate(panel.arms):
            rows = stats[(stats["arm"] == arm) & (stats["kind"] == kind)]
            draw(ax, rows, looks[arm], (i - (len(panel.arms) - 1) / 2) * width, 0.82 * width)
        ax.set_xticks(sorted(stats["band"].unique()), [])
        ax.grid(axis="x", visible=False)
        if ax is not row[0]:
            ax.sharey(row[0])
            ax.tick_params(labelleft=False)
    row[0].set_ylabel(KINDS[kind], parse_math=True)
