"""Which arms of a study a claim is about: the full model, and the arm that differs from it in one option."""

import math

from analysis.load import ArmResults, StudyResults


def varied_options(study: StudyResults, arm: ArmResults) -> dict[str, object]:
    """The options that tell the arms of this study apart, as the runs recorded them.

    Where study.json says which ones its factors set (varies), not those that a recipe or a search chose for each arm.
    """
    described = [each.get("values") or {} for each in study.info.get("arms") or []]
    configs = {record["arm"]: record.get("config") or {} for record in study.records.values()}
    varied = (
        set(study.info.get("varies") or ())
        or set().union(*described)
        or {
            key for config in configs.values() for key in config if len({str(c.get(key)) for c in configs.values()}) > 1
        }
    )
    return {key: configs[arm.name].get(key) for key in sorted(varied - {"seed"})}


def option_of(study: StudyResults, arm: ArmResults, option: str) -> object:
    """An option of an arm, whether the study varies it or not."""
    return next((r.get("config") or {} for r in study.records.values() if r["arm"] == arm.name), {}).get(option)


def levels_of(study: StudyResults, option: str) -> list[object]:
    """The levels that the study's arms, as described, or else their runs, have of an option."""
    described = [arm.get("values") or {} for arm in study.info.get("arms") or []]
    found = [values[option] for values in described if option in values]
    found = found or [(record.get("config") or {}).get(option) for record in study.records.values()]
    return [level for i, level in enumerate(found) if level not in found[:i]]


DEFAULT = "difformer"
"""The method of a run that records none."""


def method_of(study: StudyResults, arm: ArmResults) -> str:
    """The method of an arm."""
    return str(option_of(study, arm, "method") or DEFAULT)


def varies_method(study: StudyResults) -> bool:
    """Whether a study's arms are of several methods."""
    return len(levels_of(study, "method")) > 1


def full_model(study: StudyResults) -> ArmResults | None:
    """The full model: the study's control arm; in a study without study.json the arm with the most modules on."""
    if study.control:
        return study.arm(study.control)
    if study.info.get("control"):
        return None
    return max(study.arms, key=lambda arm: (option_of(study, arm, "token_loss") == "anchor")
               + (option_of(study, arm, "embedding_norm") not in ("none", None))
               + (number_of(option_of(study, arm, "noise_factor")) > 1))  # fmt: skip


def number_of(value: object) -> float:
    """A numeric option as a number; NaN if it is none."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def arm_with(study: StudyResults, option: str, level: object) -> ArmResults | None:
    """The arm that differs from the full model in this option alone, which has this level."""
    control = full_model(study)
    if control is None:
        return None
    wanted = varied_options(study, control) | {option: level}
    if option not in varied_options(study, control) or varied_options(study, control)[option] == level:
        return None
    return next((arm for arm in study.arms if varied_options(study, arm) == wanted), None)
