"""Runs of earlier versions, whose measures of the embeddings are of source and target types together.

One table holds the types of both sides, and only those of targets are diffused. Runs now measure these alone and say
so: `diag/types` in metrics.jsonl, `source_frequency` in probes.npz.
"""

from collections.abc import Collection

from analysis.load import StudyResults

UNSOUND = (
    "These runs, of an earlier version, measured source and target types together; only the types of targets are "
    "diffused, so this decides nothing: run them anew."
)


def mixed_in_training(study: StudyResults, arms: Collection[str]) -> list[str]:
    """The runs of these arms with rows of metrics.jsonl that are of all types."""
    if "diag/cosine" not in study.metrics:
        return []
    rows = study.metrics[study.metrics["arm"].isin(list(arms))].dropna(subset=["diag/cosine"])
    mixed = rows if "diag/types" not in rows else rows[rows["diag/types"].isna()]
    return sorted(mixed["run"].unique())


def mixed_in_probes(study: StudyResults, arms: Collection[str]) -> list[str]:
    """The runs of these arms with a probes.npz whose frequencies are of both sides."""
    runs = study.scores.loc[study.scores["arm"].isin(list(arms)), "run"]
    probes = {run: study.probes.get(run, {}) for run in runs}
    return sorted(run for run, each in probes.items() if "norm" in each and "source_frequency" not in each)


def mixture_note(study: StudyResults) -> str:
    """A sentence on such runs; empty if there are none."""
    arms = [arm.name for arm in study.arms]
    mixed = {*mixed_in_training(study, arms), *mixed_in_probes(study, arms)}
    if not mixed:
        return ""
    whose = "All runs" if len(mixed) == len(study.scores) else f"{len(mixed)} of {len(study.scores)} runs"
    return (
        f"{whose}, of an earlier version, measured norms, cosine, rank and variance over source and target types "
        "together, though only those of targets are diffused"
    )
