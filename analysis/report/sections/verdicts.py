"""The verdict on each claim of the paper: effect, interval, and why."""

from analysis.claims import Claim, claims, digits
from analysis.footer import tuning
from analysis.load import StudyResults
from analysis.numbers import number
from analysis.report.html import Html, join, tag
from analysis.report.interval import interval_picture
from analysis.report.section import Section
from analysis.results import NAMES

MARKS = {"reproduced": "✓", "not reproduced": "✕", "undecided": "?", "no verdict": "–"}


def verdicts_section(study: StudyResults) -> Section | None:
    """A card per claim, and how many of each verdict; None for a study that judges no claim."""
    found = claims(study)
    if not found:
        return None
    numbers = {verdict: sum(c.verdict == verdict for c in found) for verdict in MARKS}
    counts = [f"{number} {verdict}" for verdict, number in numbers.items() if number or verdict != "no verdict"]
    intro = tag(
        "p",
        f"Of {len(found)} claim{'s' * (len(found) != 1)}: ",
        ", ".join(counts),
        ". ",
        tag("a", "How to read this", href="#reading"),
        f". Tuning: {tuning(study).rstrip('.')}.",
    )
    cards = tag("ol", [_card(claim) for claim in found], class_="claims")
    return Section("verdicts", "Verdicts on the paper's claims", join(intro, cards))


def _card(claim: Claim) -> Html:
    kind = claim.verdict.replace(" ", "-")
    badge = tag(
        "span", tag("span", MARKS[claim.verdict], aria_hidden="true"), " ", claim.verdict, class_=f"verdict {kind}"
    )
    parts: list[Html | None] = [tag("h3", claim.statement), tag("p", badge)]
    if claim.effect.n:
        parts += [tag("p", effect_text(claim), class_="effect"), interval_picture(claim.effect, claim.edges, claim.few)]
        runs = tag("a", f"{claim.seeds} {'seed' if claim.seeds == 1 else 'seeds'}", href="#runs")
        parts.append(tag("p", "Compared: ", claim.contrast, "; ", runs, ".", class_="note"))
    return tag("li", parts, tag("p", claim.reason), class_=f"claim {kind}")


def effect_text(claim: Claim) -> str:
    """The estimate with its unit and interval, or with both values of two seeds."""
    effect, sign = claim.effect, is_difference(claim)
    estimate, low, high, *few = (
        number(x, digits(claim), sign) for x in (effect.estimate, effect.low, effect.high, *claim.few)
    )
    spread = f"95% interval [{low}, {high}]" if effect.defined else "no interval"
    return f"{estimate} {claim.unit}, {'both seeds: ' + '; '.join(few) if few else spread}"


def is_difference(claim: Claim) -> bool:
    """Whether the effect is a difference of scores, which is written with its sign."""
    return claim.unit in NAMES.values()
