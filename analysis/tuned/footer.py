"""The sentences below the tables of a search: how it was done, what it gained, and what the numbers are not."""

from analysis.load import StudyResults
from analysis.numbers import number
from analysis.results import effect_name
from analysis.searches import Search
from analysis.tuned.tables import CHANGE, label

DECODING = {"decoding_steps", "early_stop"}
"""Options of a run that the searched number of steps sets."""


def search_footer(found: Search) -> list[str]:
    """How to read the tables, and where the numbers come from."""
    s = found.search
    lines = [found.banner] if found.banner else []
    lines += [
        "Both columns: test set, the study's own seeds, those that have both results; 95% t intervals over seeds, "
        "differences paired by seed; verdict as in the other tables, Holm-corrected over "
        f"{int(found.arms['p'].notna().sum())} arms.",
        f"Tuned per arm, with the same budget: {_tuned(found)}. {_budget(found)}",
        f"Chosen by: {s['selection']}; search seeds {', '.join(map(str, s['seeds']))}, used for nothing else.",
        f"Trials: points trained + points that only decode the arm's best model anew; {_equal(found)}. Updates and "
        "work differ where a trial was pruned or diverged, and work also where arms differ in speed. Pruner: "
        f"{s['pruner']}.",
    ]
    lines += _unequal(found) + _regression(found) + _trained(found) + _changes(found)
    if s.get("importance"):
        lines.append(_importance(found))
    if s.get("pareto"):
        lines.append("Time: CPU seconds of decoding the validation set on one thread, mean over seeds; noisy.")
    return [*lines, *_exceptions(found), f"Command: {s['command']}"]


def _tuned(found: Search) -> str:
    """The options that were searched; where arms differ in them, those of each arm."""
    if not found.search.get("own"):
        return ", ".join(map(label, found.search["dimensions"]))
    each = {arm["label"]: found.space(arm["name"])["dimensions"] for arm in found.search["arms"]}
    return "; ".join(f"{name}: {', '.join(map(label, own)) or 'nothing'}" for name, own in each.items())


def _budget(found: Search) -> str:
    s = found.search
    limits = [f"{s['budget_s'] / 60:g} min of wall-clock time"] if s.get("budget_s") else []
    limits += [f"{s['trials_per_arm']} trained points an arm"] if s.get("trials_per_arm") else []
    rounds = "round" if s["rounds"] == 1 else "rounds"
    return f"Limit: {', '.join(limits) or 'unknown'}; {s['rounds']} {rounds} in {s['spent_s'] / 60:.0f} min."


def _regression(found: Search) -> list[str]:
    """What the best points gained where they were chosen, and what they gain elsewhere."""
    frame = found.arms.dropna(subset=["validation_default", "validation_best", "difference"])
    if frame.empty:
        return []
    gained = float((frame["validation_best"] - frame["validation_default"]).mean())
    kept = float(frame["difference"].mean())
    return [
        f"Mean gain of tuning over {len(frame)} arms: {number(gained, 1, True)} on the validation set with the "
        f"search seeds, {number(kept, 1, True)} on the test set with the study's seeds. Points were chosen by the "
        "first, which flatters it on average; the second is what counts."
    ]


def _equal(found: Search) -> str:
    """Whether arms had the same number of trials of either kind."""
    counts = {(spent["trials"], spent["decodings"]) for spent in found.search["spent"].values()}
    return "the same number in every arm" if len(counts) == 1 else "not the same number in every arm (yet)"


def _unequal(found: Search) -> list[str]:
    """What else differs between the columns than what was tuned."""
    if found.default is None or found.best is None:
        return []
    expected = {*found.search["dimensions"], "seed"} | (DECODING if "steps" in found.search["dimensions"] else set())
    before, after = _facts(found.default), _facts(found.best)
    differing = {
        name
        for run in before.keys() & after.keys()
        for name in (before[run].keys() & after[run].keys()) - expected
        if before[run][name] != after[run][name]
    }
    text = f"Note: the columns differ in more than what was tuned: {', '.join(sorted(differing))}."
    return [text] if differing else []


def _facts(study: StudyResults) -> dict[tuple[str, int], dict[str, str]]:
    """Options and corpus of each result, by arm and seed."""
    return {
        (record["arm"], int(record["seed"])): {
            **{name: str(value) for name, value in (record.get("config") or {}).items()},
            "corpus": str((record.get("data") or {}).get("digest")),
        }
        for record in study.records.values()
    }


def _trained(found: Search) -> list[str]:
    """In how many arms the best point was trained otherwise than the default, and not only decoded otherwise."""
    options, best = found.search.get("trained") or [], found.points
    other = []
    for arm, point in best.items():
        trained, defaults = (found.space(arm).get(key) or {} for key in ("trained", "defaults"))
        other += [arm] if any(point["params"].get(name) != defaults.get(name) for name in trained) else []
    if not options or not best:
        return []
    text = f"Another {' or '.join(map(label, options))} than the default was best in {len(other)} of {len(best)} arms"
    return [text + ("." if other else ": the best points change only how arms decode.")]


def _importance(found: Search) -> str:
    """What fANOVA's shares are, what they rest on, and what they are not."""
    trained = found.trials[found.trials["part"] == "training"].groupby("arm").size()
    rests = f"{trained.min()} to {trained.max()}" if len(set(trained)) > 1 else f"{trained.max()}"
    return (
        f"Importance: {found.search['importance']['evaluator']}; each option's main effect as a share of all main "
        "effects together (interactions are left out), as a random forest fitted to the trials sees them over the "
        "ranges searched. Options of training were seen at only "
        f"{rests} points of an arm (trained to the end; pruned ones do not count), so an orientation. A share has no "
        "sign and no interval, belongs to these ranges, and says nothing about the test score or the paper's claims."
    )


def _changes(found: Search) -> list[str]:
    """Which verdicts differ between the columns, and why that alone is no finding."""
    if found.effects.empty or found.default is None:
        return []
    frame = found.effects
    differing = [
        f"{effect_name(found.default, row['effect'])}: {row['verdict_default']}, then {row['verdict_best']}"
        for _, row in frame[frame["verdict_default"] != frame["verdict_best"]].iterrows()
    ]
    moved = [
        f"{effect_name(found.default, row['effect'])} {CHANGE[row['verdict_change']]}"
        for _, row in frame[frame["verdict_change"].isin(CHANGE)].iterrows()
    ]
    return [
        f"Effects: over seeds {', '.join(frame['seeds'].iloc[0].split())}, which have a result in every arm of both "
        "columns; change: at own best minus at the default, paired by seed. Effects that tuning changed: "
        f"{'; '.join(moved) or 'none is shown'}. Verdicts that differ: {'; '.join(differing) or 'none'}; a verdict "
        "that differs is no evidence of a change, the column says that."
    ]


def _exceptions(found: Search) -> list[str]:
    lines = [f"Note: {note}." for note in found.notes]
    gone = [f"{row['label']}: {row['left_out']}" for _, row in found.arms.iterrows() if row["left_out"]]
    if gone:
        lines.append(f"Seeds left out, as one column has no result of them: {'; '.join(gone)}.")
    same = found.arms[(found.arms["difference_n"] > 1) & found.arms["difference_low"].isna()]["label"]
    if len(same):
        lines.append(
            f"No interval although there are seeds: {', '.join(same)}. All gave the same difference (0 where the best "
            "point decodes as the default does), so how it varies is unknown."
        )
    if not found.search.get("finished"):
        lines.append("Note: the search is not finished; start the same command again to go on.")
    unsettled = [t for t in found.search["trials"] if t["state"] == "failed"]
    lines += [f"Failed trial: {t['arm']}, {t.get('reason')}." for t in unsettled]
    odd = [t for t in found.search["trials"] if "diverged" in (t.get("outcomes") or [])]
    return lines + [f"Diverged: {t['arm']} trial {t['number']} (counted with what it scored)." for t in odd]
