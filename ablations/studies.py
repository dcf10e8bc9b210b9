"""Named studies: which factors are crossed, at which levels, and against which arm the others are held.

To add an arm of your own, add a level to a factor in factors.py and name it in a study; to add a study, add a line to
STUDIES below.
"""

import itertools
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ablations.factors import Level, factor, options_of
from ablations.ranges import NUISANCE, OWN, Dimension
from core import methods
from core.errors import UserError
from core.options import nearest, values_of


@dataclass(frozen=True)
class Arm:
    """One combination of levels: its name in file names and figures, and the options it sets."""

    name: str
    label: str
    toggles: Mapping[str, Level]
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Study:
    """A question: scientific factors crossed with each other; all that runs and analyses need is derived from this.

    control: the arm that others are compared with. metric: the score (core/scores.py) that chooses checkpoints, prunes
    and searches, and that verdicts are about; --set metric=NAME takes another. nuisance: what a search tunes for each
    arm, with equal budget.
    seeds: how many; none = as the preset says. claims: which of the paper's claims it is there to judge, by their keys
    in analysis/questions/. Every other option is the same for all arms: as `fixed` says, or `by_preset`, which has what
    the study sets with one preset, by its name, or the preset (--set takes another); given: what holds of all this
    whatever the defaults of an arm's method.
    """

    name: str
    question: str
    factors: Mapping[str, tuple[Level, ...]]
    control: str
    metric: str = "bleu"
    seeds: int | None = None
    nuisance: Mapping[str, Dimension] = field(default_factory=lambda: dict(NUISANCE))
    claims: tuple[str, ...] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict)
    by_preset: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    given: Mapping[str, Any] = field(default_factory=dict)

    def sets(self, preset: str) -> dict[str, Any]:
        """What the study itself sets for all arms with the preset of that name."""
        return {**self.fixed, **self.by_preset.get(preset, {})}

    @property
    def arms(self) -> tuple[Arm, ...]:
        """All combinations, the control first where it is the first of each factor's levels."""
        return tuple(self.as_run(arm) for arm in self.combinations)

    def as_run(self, arm: Arm) -> Arm:
        """The arm with what it would lose of `given`: the values that the control's method has by default or has no
        option for, and its own has not by default (`with_values`)."""
        if not self.given:
            return arm
        control = next((each for each in self.combinations if each.name == self.control), arm)
        usual, own = (defaults(each) for each in (control, arm))
        lost = {name: v for name, v in self.given.items() if name in own and v == usual.get(name, v) != own[name]}
        return replace(arm, values={**lost, **arm.values}) if lost else arm

    @property
    def combinations(self) -> tuple[Arm, ...]:
        """The arms with what their levels set alone: not what a recipe or a search has chosen for each."""
        names = list(self.factors)
        return tuple(arm(dict(zip(names, row, strict=True))) for row in itertools.product(*self.factors.values()))

    @property
    def nearest_first(self) -> list[Arm]:
        """The combinations, the control first, then those that have most levels in common with it."""
        control = next((arm.toggles for arm in self.combinations if arm.name == self.control), {})
        return sorted(self.combinations, key=lambda arm: -len(arm.toggles.items() & control.items()))

    def of_arms(self, names: Collection[str]) -> "Study":
        """The study of some of its arms: the levels that they have. For a control that is none of them, the nearest."""
        kept = [arm for arm in self.nearest_first if arm.name in names]
        found = {name: {arm.toggles[name] for arm in kept} for name in self.factors}
        factors = {name: tuple(level for level in self.factors[name] if level in found[name]) for name in found}
        return replace(self, factors=factors, control=kept[0].name)

    @property
    def varies(self) -> list[str]:
        """The options that levels of its factors set."""
        return sorted({option for each in self.combinations for option in each.values})


def arm(toggles: Mapping[str, Level]) -> Arm:
    """The arm for a combination of levels."""
    parts = [factor(name).short[level] for name, level in toggles.items()]
    parts = [part.removesuffix(".0") for part in parts]
    return Arm("+".join(parts), " · ".join(parts), dict(toggles), options_of(toggles))


def defaults(arm: Arm) -> dict[str, Any]:
    """The options of an arm's method at their defaults."""
    return values_of(methods.options(str(arm.values.get("method", methods.DEFAULT))), all_of_them=True)


ANCHOR = ("rounding_collapse", "anchor_spread", "anchor_score")
NORM = ("norm_imbalance", "norm_score")
NOISE = ("noise_insufficient", "noise_degeneration", "noise_score")
STEPS = ("few_steps",)
METHODS = tuple(factor("method").levels)
SYSTEMS = (
    *("above_diffuseq", "above_seqdiffuseq", "above_diffusion_lm", "above_dinoiser"),
    *("above_cmlm", "above_rdm", "near_autoregressive"),
)

STUDIES: dict[str, Study] = {
    study.name: study
    for study in (
        Study(
            "modules",
            "What does each of the paper's three ingredients buy, alone and together?",
            {"anchor_loss": (True, False), "embedding_norm": (True, False), "noise_factor": (4.0, 1.0)},
            control="anchor+norm+F4",
            claims=(*ANCHOR, *NORM, *NOISE, "all_three", *STEPS),
        ),
        Study(
            "noise_factor",
            "How much noise is enough?",
            {"noise_factor": (1.0, 2.0, 3.0, 4.0, 6.0, 8.0)},
            control="F4",
            claims=(*NOISE, *STEPS),
        ),
        Study(
            "token_loss",
            "Does the embedding space collapse without the anchor loss?",
            {"token_loss": ("anchor", "rounding", "none", "frozen")},
            control="anchor",
            claims=("objective_collapse", *ANCHOR, *STEPS),
        ),
        Study(
            "norm",
            "Where should the embedding layer norm stand?",
            {"norm_placement": ("latent", "decoder_input", "none")},
            control="norm-latent",
            claims=(*NORM, *STEPS),
        ),
        Study(
            "schedule",
            "Does the noise schedule matter once the noise factor is 4?",
            {"schedule": ("sqrt", "linear", "cosine", "edm", "cdcd")},
            control="sqrt",
        ),
        Study(
            "steps",
            "How many sampling steps are enough? (one training per seed, shared by all arms)",
            {"steps": (2, 5, 10, 20, 50, 100)},
            control="K20",
            claims=STEPS,
        ),
        Study(
            "samplers",
            "Which sampler is best at 2, 5, 10, 20 network calls? (one training per seed, shared by all arms)",
            {"sampler": ("ancestral", "ddim", "dpm_solver", "cedi"), "network_calls": (2, 5, 10, 20)},
            control="ancestral+20calls",
        ),
        Study(
            "self_conditioning",
            "What does self-conditioning buy?",
            {"self_conditioning": (True, False)},
            control="selfcond-True",
        ),
        Study(
            "systems",
            "How do systems compare at the same size, on the same text, after the same updates?",
            {"method": METHODS},
            control=methods.DEFAULT,
            nuisance={**NUISANCE, **OWN},
            claims=SYSTEMS,
            by_preset={"tiny": {"updates": 1400}},
        ),
        Study(
            "systems_time",
            "How do systems compare at the same size, on the same text, after the same time of training?",
            {"method": METHODS},
            control=methods.DEFAULT,
            nuisance={**NUISANCE, **OWN},
            claims=SYSTEMS,
            fixed={"training_seconds": 30.0},
        ),
        Study(
            "transfer",
            "Do the three ingredients help systems that were published without them?",
            {
                "method": ("diffuseq", "seqdiffuseq", "diffusion_lm"),
                "anchor_loss": (False, True),
                "embedding_norm": (False, True),
                "noise_factor": (1.0, 4.0),
            },
            control="diffuseq+rounding+nonorm+F1",
            fixed={"restart_positions": True},
            by_preset={"tiny": {"updates": 1000}, "as_released": {"restart_positions": False}},
        ),
    )
}


def get(name: str) -> Study:
    """The study of that name. Raises UserError naming the nearest."""
    if name not in STUDIES:
        raise UserError(f"unknown study {name!r}.{nearest(name, STUDIES)}")
    return STUDIES[name]
