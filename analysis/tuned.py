"""Arms at the default beside arms at their own best: what a search (make search) changes about a study's answer.

python -m analysis.tuned runs/modules-search --out figures

reads search.json and the two studies it names, prints the tables, and writes them (tuned.md, tuned.tex), what they were
made from (arms.csv, effects.csv, trials.csv) and the figures, each with its CSV, to figures/modules-search/.
"""

import argparse
import math
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from rich.console import Console

from analysis.files import read_json
from analysis.load import Study, load
from analysis.results import NAMES, effect_name, effects, interval_columns
from analysis.stats import holm, mean_interval_t, paired, t_pvalue, verdict
from analysis.style import FORMATS, GREY, SMALL
from analysis.tables import Grid, latex, markdown, number, p_text, print_grids, with_interval
from core.errors import UserError, command

FILE = "search.json"
LABELS = {"steps": "K", "decoding_noise_factor": "sampler's F", "lr": "learning rate", "warmup": "warm-up"}
"""Names of searched options in tables and figures."""
WHAT = "All arms at the default, and each arm at its own best"


def label(option: str) -> str:
    """An option's name for people."""
    return LABELS.get(option, option.replace("_", " "))


def value_text(value: Any) -> str:
    """A value of an option in three digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class Tuned:
    """A search and the two studies made after it; either is None until it has a result.

    search: the content of search.json. notes: why a study is missing.
    """

    path: Path
    search: dict[str, Any]
    default: Study | None
    best: Study | None
    notes: tuple[str, ...] = ()

    @property
    def metric(self) -> str:
        """The score that arms are compared by."""
        return str(self.search["metric"])

    @cached_property
    def arms(self) -> pd.DataFrame:
        """A row per arm: score at the default and at its best, their paired difference, tuned options, cost."""
        rows = [self._arm(arm) for arm in self.search["arms"]]
        for row, adjusted in zip(rows, holm([row["p"] for row in rows]), strict=True):
            interval = mean_interval_t(row.pop("_x"))
            row["p_holm"] = float(adjusted)
            row["verdict"] = verdict(interval, p_adjusted=float(adjusted))
        return pd.DataFrame(rows)

    def _arm(self, arm: Mapping[str, Any]) -> dict[str, Any]:
        name = arm["name"]
        values = [study.values(study.metric, name) if study else {} for study in (self.default, self.best)]
        x = paired(values[1], values[0])
        row: dict[str, Any] = {"arm": name, "label": arm["label"]}
        for prefix, each in zip(("default", "best"), values, strict=True):
            row |= interval_columns(prefix, mean_interval_t(list(each.values()))) | {f"{prefix}_n": len(each)}
        row |= interval_columns("difference", mean_interval_t(x)) | {"difference_n": x.size, "p": t_pvalue(x)}
        point = (self.search["best"] or {}).get(name) or {}
        row |= {"validation_default": point.get("default_value"), "validation_best": point.get("value")}
        row |= {f"option/{option}": value for option, value in (point.get("params") or {}).items()}
        return row | {f"spent/{key}": value for key, value in self.search["spent"][name].items()} | {"_x": x}

    @cached_property
    def effects(self) -> pd.DataFrame:
        """A row per effect of the factorial: at the default and at each arm's own best; empty where there is none."""
        if self.default is None or self.best is None:
            return pd.DataFrame()
        before, after = effects(self.default), effects(self.best)
        if before.empty or after.empty:
            return pd.DataFrame()
        return before.merge(after, on=["effect", "order", "kind"], suffixes=("_default", "_best"))

    @cached_property
    def importance(self) -> pd.DataFrame:
        """Rows arm, label, option, share: of each arm's scores, and over all (arm "all")."""
        found = self.search.get("importance") or {}
        labels = {arm["name"]: arm["label"] for arm in self.search["arms"]} | {"all": "all arms together"}
        shares = {**(found.get("arms") or {}), "all": found.get("all") or {}}
        rows = [
            {"arm": arm, "label": labels[arm], "option": option, "share": share}
            for arm, own in shares.items()
            for option, share in own.items()
        ]
        return pd.DataFrame(rows, columns=["arm", "label", "option", "share"])

    @cached_property
    def trials(self) -> pd.DataFrame:
        """Completed trials of the rounds that count: arm, label, number, part, value, decode_ms, front (or not)."""
        labels = {arm["name"]: arm["label"] for arm in self.search["arms"]}
        front = self.search.get("pareto") or {}
        kept = [t for t in self.search["trials"] if t["state"] == "complete" and t["round"] < self.search["rounds"]]
        rows = [
            {"arm": t["arm"], "label": labels[t["arm"]], "number": t["number"], "part": t["part"], "value": t["value"]}
            | {"decode_ms": t.get("decode_ms"), "front": t["number"] in front.get(t["arm"], [])}
            | {f"option/{name}": value for name, value in t["params"].items()}
            for t in kept
        ]
        return pd.DataFrame(rows)

    # As text

    def grid(self) -> Grid:
        """The table of two columns: a row per arm."""
        name = NAMES.get(self.metric, self.metric)
        heads = ("arm", f"{name} at the default [95%]", f"{name} at its own best [95%]", "difference [95%]", "verdict")
        rows = []
        for _, row in self.arms.iterrows():
            cells = [row["label"], with_interval(row, "default"), with_interval(row, "best")]
            cells += [with_interval(row, "difference", sign=True), row["verdict"], self.options_text(row["arm"])]
            rows.append(tuple([*cells, *self._spent(row)]))
        spent = ("trials", "pruned", "updates", "work")
        return Grid(f"{WHAT}: {self.search['study']}", (*heads, "tuned options", *spent), tuple(rows))

    def _spent(self, row: pd.Series) -> list[str]:
        trials = f"{row['spent/trials']} + {row['spent/decodings']}"
        return [trials, str(row["spent/pruned"]), f"{row['spent/updates']:,}", f"{row['spent/seconds'] / 60:.0f} min"]

    def options_text(self, arm: str) -> str:
        """What the best point changes: "learning rate 0.0071, K 10 (else default)"."""
        point = (self.search["best"] or {}).get(arm)
        if not point:
            return "no trial came through"
        changed = {n: v for n, v in point["params"].items() if v != self.search["defaults"].get(n)}
        return ", ".join(f"{label(n)} {value_text(v)}" for n, v in changed.items()) or "the default"

    def effects_grid(self) -> Grid | None:
        """The effects of the factorial in two columns, and how verdicts changed."""
        if self.effects.empty or self.default is None:
            return None
        name = NAMES.get(self.metric, self.metric)
        heads = ("effect", f"{name} at the default", "p (Holm)", "verdict", f"{name} at own best", "p (Holm)")
        rows = []
        for _, row in self.effects.iterrows():
            cells = [effect_name(self.default, row["effect"])]
            for when in ("default", "best"):
                columns = {f"estimate{end}": row[f"estimate{end}_{when}"] for end in ("", "_low", "_high")}
                cells += [with_interval(pd.Series(columns), "estimate", sign=True), p_text(row[f"p_holm_{when}"])]
                cells.append(row[f"verdict_{when}"])
            same = row["verdict_default"] == row["verdict_best"]
            rows.append(tuple([*cells, "as before" if same else "changed"]))
        return Grid(f"Effects: {self.search['study']}", (*heads, "verdict", "verdict is"), tuple(rows))

    def importance_grid(self) -> Grid | None:
        """Shares of variance, a row per arm."""
        if self.importance.empty:
            return None
        options = list(dict.fromkeys(self.importance["option"]))
        options = [*self.search["dimensions"], *(o for o in options if o not in self.search["dimensions"])]
        rows = []
        for _, own in self.importance.groupby("arm", sort=False):
            shares = dict(zip(own["option"], own["share"], strict=True))
            texts = [number(shares.get(option, math.nan), 2) if option in shares else "" for option in options]
            rows.append((str(own["label"].iloc[0]), *texts))
        return Grid("Importance (fANOVA)", ("arm", *map(label, options)), tuple(rows))

    def pareto_grid(self) -> Grid | None:
        """The trials that no other one of their arm beats in score and in time."""
        if not self.search.get("pareto") or self.trials.empty:
            return None
        front = self.trials[self.trials["front"]].sort_values(["arm", "decode_ms"], kind="stable")
        options = list(self.search["dimensions"])
        rows = [
            (row["label"], number(row["value"]), number(row["decode_ms"], 2))
            + tuple(value_text(row[f"option/{name}"]) for name in options)
            for _, row in front.iterrows()
        ]
        heads = ("arm", "validation score", "CPU ms per sentence", *map(label, options))
        return Grid("Pareto front: score against decoding time", heads, tuple(rows))

    def grids(self) -> list[Grid]:
        """All tables there are."""
        found = [self.grid(), self.effects_grid(), self.importance_grid(), self.pareto_grid()]
        return [grid for grid in found if grid is not None]

    def lines(self) -> list[str]:
        """How to read the tables, and where the numbers come from."""
        s = self.search
        lines = [s["banner"]] if s.get("banner") else []
        lines += [
            f"Both columns: test set, the study's own seeds; 95% t intervals over seeds, differences paired by seed; "
            f"verdict as in the other tables, Holm-corrected over {len(self.arms)} arms.",
            f"Tuned per arm, with the same budget: {', '.join(label(n) for n in s['dimensions'])}. {self._budget()}",
            f"Chosen by: {s['selection']}; search seeds {', '.join(map(str, s['seeds']))}, used for nothing else.",
            "Trials: points trained + points that only decode the arm's best model anew. Arms have the same number of "
            "trials; updates and work differ where a trial was pruned or diverged, and work also where arms differ in "
            f"speed. Pruner: {s['pruner']}.",
        ]
        lines += self._regression() + self._changes()
        if s.get("importance"):
            lines.append(
                f"Importance: {s['importance']['evaluator']}; share of the variance of validation scores within the "
                "ranges searched, estimated from the trials of this table: few, so an orientation."
            )
        if s.get("pareto"):
            lines.append("Time: CPU seconds of decoding the validation set on one thread, mean over seeds; noisy.")
        return [*lines, *self._exceptions(), f"Command: {s['command']}"]

    def _budget(self) -> str:
        s = self.search
        limits = [f"{s['budget_s'] / 60:g} min of wall-clock time"] if s.get("budget_s") else []
        limits += [f"{s['trials_per_arm']} trained points an arm"] if s.get("trials_per_arm") else []
        rounds = "round" if s["rounds"] == 1 else "rounds"
        return f"Limit: {', '.join(limits) or 'unknown'}; {s['rounds']} {rounds} in {s['spent_s'] / 60:.0f} min."

    def _regression(self) -> list[str]:
        """What the best points gained where they were chosen, and what they gain elsewhere."""
        frame = self.arms.dropna(subset=["validation_default", "validation_best", "difference"])
        if frame.empty:
            return []
        gained = float((frame["validation_best"] - frame["validation_default"]).mean())
        kept = float(frame["difference"].mean())
        return [
            f"Mean gain of tuning over {len(frame)} arms: {number(gained, 1, True)} on the validation set with the "
            f"search seeds, {number(kept, 1, True)} on the test set with the study's seeds. Points were chosen by the "
            "first, so it flatters; the second is what counts."
        ]

    def _changes(self) -> list[str]:
        if self.effects.empty or self.default is None:
            return []
        changed = self.effects[self.effects["verdict_default"] != self.effects["verdict_best"]]
        told = [
            f"{effect_name(self.default, row['effect'])}: {row['verdict_default']}, then {row['verdict_best']}"
            for _, row in changed.iterrows()
        ]
        return [f"Verdicts that tuning changed: {'; '.join(told) or 'none'}."]

    def _exceptions(self) -> list[str]:
        lines = [f"Note: {note}." for note in self.notes]
        if not self.search.get("finished"):
            lines.append("Note: the search is not finished; start the same command again to go on.")
        unsettled = [t for t in self.search["trials"] if t["state"] == "failed"]
        lines += [f"Failed trial: {t['arm']}, {t.get('reason')}." for t in unsettled]
        odd = [t for t in self.search["trials"] if "diverged" in (t.get("outcomes") or [])]
        return lines + [f"Diverged: {t['arm']} trial {t['number']} (counted with what it scored)." for t in odd]


def tuned(path: Path) -> Tuned | None:
    """The search in a folder, with what was run after it; None if the folder holds no search.

    Raises UserError if its search.json cannot be read.
    """
    file = Path(path) / FILE
    if not file.exists():
        return None
    search = read_json(file)
    if not isinstance(search, dict) or "arms" not in search:
        raise UserError(f"{file} is not readable: start the search again, which writes it anew")
    studies: dict[str, Study | None] = {}
    notes = []
    for which in ("default", "tuned"):
        folder = Path(path).parent / str(search[which])
        try:
            studies[which] = load(folder)
        except UserError as error:
            studies[which] = None
            notes.append(f"no results in {folder.name} ({error})")
    return Tuned(Path(path), search, studies["default"], studies["tuned"], tuple(notes))


def narrow(grid: Grid) -> Grid:
    """The columns that a terminal of 80 characters has room for; the files have all."""
    left_out = {"verdict", "pruned", "updates", "work", "p (Holm)"} if grid.heads[0] == "arm" else {"p (Holm)"}
    kept = [i for i, head in enumerate(grid.heads) if head not in left_out]
    rows = tuple(tuple(row[i] for i in kept) for row in grid.rows)
    return Grid(grid.title, tuple(grid.heads[i] for i in kept), rows)


def write(found: Tuned, out: Path) -> list[Path]:
    """Write tables and frames into out."""
    out.mkdir(parents=True, exist_ok=True)
    texts = {"tuned.md": markdown(found.grids(), found.lines()), "tuned.tex": latex(found.grids(), found.lines())}
    frames = {"arms.csv": found.arms, "effects.csv": found.effects, "trials.csv": found.trials}
    texts |= {name: f.to_csv(index=False, lineterminator="\n") for name, f in frames.items() if not f.empty}
    for name, content in texts.items():
        (out / name).write_text(content, encoding="utf-8")
    return [out / name for name in texts]


def caption(figure: Figure, found: Tuned, what: str) -> None:
    """Above a figure: what its numbers are worth, and what it shows."""
    text = "; ".join(line for line in (found.search.get("banner") or "", what) if line)
    text = textwrap.fill(text, int(figure.get_figwidth() / 0.051))
    figure.suptitle(text, x=0.01, ha="left", fontsize=SMALL, color=GREY, style="italic")


def report(
    path: Path,
    out: Path,
    formats: Iterable[str] = FORMATS,
    quiet: bool = False,
    style: Mapping[Any, Any] | None = None,
) -> bool:
    """Print and write the tables of a search, and draw its figures; False if the folder holds no search."""
    from analysis.figures import of_search  # those modules import this one

    found = tuned(path)
    if found is None:
        return False
    console = Console()
    tables = found.grids() if console.width >= 150 else [narrow(grid) for grid in found.grids()]
    if not quiet:
        print_grids(tables, found.lines(), console)
    out = out / path.resolve().name
    written, skipped = of_search.redraw(found, out, formats, style)
    for line in [*(f"wrote {path}" for path in [*written, *write(found, out)]), *skipped]:
        print(line)
    return True


@command
def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m analysis.tuned", description="Tables and figures of a search.")
    parser.add_argument("search_dir", type=Path, help="folder of a search, such as runs/modules-search")
    parser.add_argument("--out", type=Path, default=Path("figures"), help="where to write (default: figures)")
    options = parser.parse_args()
    if not report(options.search_dir, options.out):
        raise UserError(f"no search in {options.search_dir} (no {FILE}): make search writes one to runs/STUDY-search")


if __name__ == "__main__":
    main()
