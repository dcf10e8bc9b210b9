"""The W&B report of a study as code: the question, the arms, what came out, and how to read it.

Its panels show the runs as they are; its tables are a snapshot, and say so.
"""

from collections.abc import Iterable
from typing import Any

import wandb_workspaces.reports.v2 as wr

from ablations.studies import STUDIES
from sweeps.dashboards import workspace
from sweeps.dashboards.facts import Facts
from sweeps.dashboards.workspace import COLUMNS, level_text, words
from sweeps.wb import private

WIDTH, HEIGHT = 24 // COLUMNS, 7
"""Size of a panel in the grid of a report, which is 24 wide."""
CLAIMS = (
    "Of the full model and of what happens when one thing is taken from it. Not reproduced means evidence against the "
    "claim; where evidence lacks, it is undecided. A snapshot like the tables above."
)
READING = (
    "A verdict is given only where the whole interval lies on one side of 0 and the corrected p is at most 0.05; "
    "everything else is undecided, which does not mean that there is no effect."
)
# Section -> what to look for in it
TEXTS = {
    "Quality": "Bars are means over runs, the range is from the lowest to the highest run. "
    "For verdicts see the tables.",
    "Collapse": "A falling MSE while the embeddings shrink or align (cosine towards 1, low rank) is collapse, "
    "not learning.",
    "Embedding norms": "Rare, middle and frequent: thirds of the types of training targets by their frequency there.",
    "Per-step loss": "Where the nearest embedding recovers nearly all tokens, a step is too easy: "
    "the denoiser can copy.",
    "Decoding": "Scores and times on a part of the test set; samples and how the first of them came about, "
    "step by step.",
    "Cost": "What each arm costs on the machine it ran on.",
}
HEADS = {"Quality": "Quality by toggle"}


def report(facts: Facts, entity: str, project: str, when: str) -> Any:
    """The report, not saved. With an entity its run sets ask the server for the project."""
    return wr.Report(
        project=project,
        entity=entity,
        title=workspace.title(facts)[:128],
        description=mark(facts),
        width="fluid",
        blocks=blocks(facts, entity, project, when),
    )


def mark(facts: Facts) -> str:
    """The report's description, by which the next `make dashboard` knows it for its own."""
    return f"Written by make dashboard for the study {facts.name}; the next one overwrites changes made here."


def blocks(facts: Facts, entity: str, project: str, when: str) -> list[Any]:
    """Everything below the title."""
    found = facts.found
    tables = [f"**{each['title']}**\n\n{each['text']}" for each in found.get("tables", [])]
    parts: list[Any] = [wr.TableOfContents()]
    if facts.info.get("banner"):
        parts.append(wr.CalloutBlock(str(facts.info["banner"])))
    parts += chapter("Question", question(facts), [factors_text(facts)])
    parts += chapter("Arms", arms_text(facts), [arms_table(facts)])
    parts += chapter("Results", snapshot_text(facts, when), tables)
    if claims := found.get("claims"):
        rows = [[each[key] for key in ("statement", "verdict", "effect", "reason")] for each in claims]
        heads = ["claim", "verdict", "effect [95% interval]", "why"]
        parts += chapter("The paper's claims", CLAIMS, [table(heads, rows)])
    for name, panels in workspace.sections(facts).items():
        parts.append(wr.H1(HEADS.get(name, name)))
        parts += [wr.P(TEXTS[name]), grid(name, panels, facts, entity, project)]
    parts += chapter("How to read the verdicts", "", [bullets(found.get("reading") or [READING])])
    source = found.get("footer") or [f"Command: {facts.info.get('command')}"]
    return parts + chapter("Where the numbers come from", "", [bullets(source)])


def chapter(head: str, text: str, markdown: Iterable[str]) -> list[Any]:
    """A heading, a paragraph, and blocks of Markdown; what is empty is left out."""
    blocks: list[Any] = [wr.H1(head)]
    blocks += [wr.P(text)] if text else []
    return blocks + [wr.MarkdownBlock(each) for each in markdown if each]


def question(facts: Facts) -> str:
    """What the study asks, if it is one of ours."""
    ours = [s for s in STUDIES.values() if list(s.factors) == list(facts.factors) and facts.name.startswith(s.name)]
    return ours[0].question if ours else "What does each level of the study's factors buy?"


def factors_text(facts: Facts) -> str:
    """The factors and their levels."""
    return bullets(f"{words(name)}: {', '.join(map(level_text, levels))}" for name, levels in facts.factors.items())


def arms_text(facts: Facts) -> str:
    """How many arms, seeds, and against which arm."""
    seeds = ", ".join(map(str, facts.info.get("seeds") or []))
    control = f"; the control is {facts.info['control']}" if facts.info.get("control") else ""
    return f"{len(facts.arms)} arms, each with the seeds {seeds or 'found'}{control}. All else is equal in all arms."


def table(heads: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in lines)


def arms_table(facts: Facts) -> str:
    """A row for each arm: its toggles and the options it sets."""
    heads = ["arm", *map(words, facts.factors), "options"]
    rows = []
    for arm in facts.arms:
        options = ", ".join(f"{key} = {level_text(value)}" for key, value in (arm.get("values") or {}).items())
        levels = [level_text(arm["toggles"].get(factor)) for factor in facts.factors]
        rows.append([str(arm.get("label") or arm["name"]), *levels, options])
    return table(heads, rows)


def snapshot_text(facts: Facts, when: str) -> str:
    """Of when the tables are."""
    if not facts.results:
        return f"No results yet as of {when}: {facts.found.get('why')}. The panels below fill as runs arrive."
    failed = f", {facts.found['failed']} without a result" if facts.found.get("failed") else ""
    done = f"{facts.results} of {max(len(facts.runs), facts.results)} runs finished{failed}"
    return f"The tables are a snapshot of {when}, with {done}; the panels show the runs as they are now."


def bullets(lines: Iterable[str]) -> str:
    """A list in Markdown; what would be read as its marks is escaped."""
    escaped = ("".join(f"\\{c}" if c in "\\`*_<|" else c for c in line) for line in lines)
    return "\n".join(f"- {line}" for line in escaped)


def grid(name: str, panels: list[Any], facts: Facts, entity: str, project: str) -> Any:
    """The panels of a section in rows of three, over the runs of this study."""
    workspace.with_ids(panels, "report", facts.name, name)
    for i, panel in enumerate(panels):
        panel.layout = wr.Layout(x=WIDTH * (i % COLUMNS), y=HEIGHT * (i // COLUMNS), w=WIDTH, h=HEIGHT)
    runset = wr.Runset(
        entity=entity,
        project=project if entity else "",
        name=facts.name,
        groupby=[f"config.{factor}" for factor in facts.factors],
        run_settings={run: wr.RunSettings(color=color) for run, color in workspace.run_colors(facts).items()},
    )
    private.set_id(runset, workspace.name_from("runset", facts.name, name))
    workspace.show_this_study(runset, runset, facts)
    colors: dict[Any, Any] = {}
    for levels, color in workspace.group_colors(facts).items():
        pairs = zip(facts.factors, levels, strict=True)
        keys = tuple(wr.RunsetGroupKey(wr.Config(factor), level) for factor, level in pairs)
        colors[wr.RunsetGroup(runset_name=facts.name, keys=keys)] = color
    return wr.PanelGrid(runsets=[runset], panels=panels, custom_run_colors=colors)
