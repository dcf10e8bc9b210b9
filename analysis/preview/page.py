"""The preview as one self-contained HTML page: the runs' groups on the left, sections of panels on the right."""

import base64
import html
import io
from typing import Any

import matplotlib.pyplot as plt

from analysis.figures.common import Missing
from analysis.files import read_rows
from analysis.load import Study
from analysis.preview.draw import KINDS
from analysis.preview.spec import Panel, Section, Workspace
from analysis.saving import METADATA, fix_layout
from analysis.style import Look, arm_style, styled

WIDTH, HEIGHT = 4.3, 2.0
"""Size of a panel's plot in inches, at 100 pixels an inch."""
ROWS = 6
"""Rows of a table panel."""
KEY = "<p>Lines and bars are means over runs; bands and whiskers reach from the lowest to the highest run.</p>"
STYLE = """
:root { color-scheme: light; font: 14px/1.4 system-ui, "DejaVu Sans", sans-serif; color: #1a1c1f; background: #f4f5f6 }
body { margin: 0; display: grid; grid-template-columns: 292px 1fr }
header { grid-column: 1 / 3; background: #fff7df; border-bottom: 1px solid #d9b84a; padding: 9px 18px }
header strong { font-size: 16px } header span { color: #595959 }
aside { background: #fff; border-right: 1px solid #d9dcdf; padding: 14px 16px }
aside h2 { font-size: 14px; margin: 4px 0 2px } aside p { margin: 8px 0 10px; color: #595959; font-size: 12.5px }
aside ol { list-style: none; margin: 0; padding: 0 }
aside li { display: grid; grid-template-columns: 34px 1fr auto auto; gap: 8px; align-items: center; padding: 5px 0;
  border-top: 1px solid #eceef0; font-size: 12.5px }
aside li b { font-weight: 600; text-align: right }
main { padding: 4px 16px 16px; min-width: 0 }
main h2 { font-size: 16px; margin: 16px 0 8px } main h2 span { color: #595959; font-weight: 400; font-size: 13px }
.grid { display: grid; gap: 12px }
figure { margin: 0; background: #fff; border: 1px solid #d9dcdf; border-radius: 4px; padding: 7px 9px; min-width: 0;
  overflow: hidden }
figcaption { font-weight: 600; font-size: 13px; margin-bottom: 3px } figure img { width: 100%; display: block }
figure p { color: #595959 }
table { border-collapse: collapse; font-size: 11.5px; width: 100% } td, th { text-align: left; vertical-align: top;
  padding: 2px 6px; border-bottom: 1px solid #eceef0 }
@media (max-width: 900px) { body { display: block } .grid { grid-template-columns: 1fr !important } }
"""


def page(workspace: Workspace, study: Study | None, why: str) -> str:
    """The page; without a study (no results yet) the panels are empty, and why is said."""
    sections = "".join(_section(section, study, why) for section in workspace.sections)
    name = html.escape(workspace.name)
    note = (
        "A preview of the W&amp;B workspace, drawn from its workspace.json and the run folders. Not W&amp;B's own page."
    )
    banner = f" {html.escape(study.banner)}." if study and study.banner else ""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{name} (preview)</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>'
        f"<header><strong>{name}</strong> <span>{note}{banner}</span></header>"
        f"{_sidebar(workspace, study, why)}<main>{sections}</main></body></html>\n"
    )


def _sidebar(workspace: Workspace, study: Study | None, why: str) -> str:
    grouping = ", ".join(key.replace("_", " ") for key in workspace.grouping)
    shown = f"group = {html.escape(workspace.group)}"
    head = f"<h2>Runs</h2><p>project {html.escape(workspace.project)}<br>filter: {shown}<br>grouped by {grouping}</p>"
    if study is None:
        return f"<aside>{head}<p>{html.escape(why)}</p></aside>"
    looks, rows = arm_style(study), ""
    for arm in study.arms:
        values = list(study.values(study.metric, arm.name).values())
        mean = f"{sum(values) / len(values):.1f}" if values else ""
        rows += f"<li>{swatch(looks[arm.name])}<span>{html.escape(arm.label)}</span>{len(values)}<b>{mean}</b></li>"
    return f"<aside>{head}<p>arm, runs, mean of test/{html.escape(study.metric)}</p><ol>{rows}</ol>{KEY}</aside>"


def swatch(look: Look) -> str:
    """A short line as the arm has it in the plots."""
    dash = "" if look.linestyle == "-" else ' stroke-dasharray="5 3"'
    stroke = f'stroke="{look.color}" stroke-width="2.5"{dash}'
    return f'<svg width="34" height="10" aria-hidden="true"><line x1="1" y1="5" x2="33" y2="5" {stroke}/></svg>'


def _section(section: Section, study: Study | None, why: str) -> str:
    panels = "".join(_figure(panel, study, why) for panel in section.panels)
    columns = f"grid-template-columns: repeat({section.columns}, minmax(0, 1fr))"
    head = f"<h2>{html.escape(section.name)} <span>{len(section.panels)}</span></h2>"
    return f'<section>{head}<div class="grid" style="{columns}">{panels}</div></section>'


def _figure(panel: Panel, study: Study | None, why: str) -> str:
    try:
        content = _content(panel, study, why)
    except Missing as missing:
        content = f"<p>nothing to show yet: {html.escape(str(missing))}</p>"
    return f"<figure><figcaption>{html.escape(panel.title)}</figcaption>{content}</figure>"


def _content(panel: Panel, study: Study | None, why: str) -> str:
    if study is None:
        raise Missing(why)
    if panel.kind in KINDS:
        return picture(panel, study)
    if panel.kind == "Weave":
        return table(panel, study)
    raise Missing(f"a panel of the kind {panel.kind} is drawn by W&B alone")


def picture(panel: Panel, study: Study) -> str:
    """The plot as an image within the page."""
    with styled():
        figure, ax = plt.subplots(figsize=(WIDTH, HEIGHT), layout="constrained")
        try:
            KINDS[panel.kind](ax, study, panel)
            target = io.BytesIO()
            fix_layout(figure)
            figure.savefig(target, format="svg", metadata=METADATA["svg"])
        finally:
            plt.close(figure)
    data = base64.b64encode(target.getvalue()).decode()
    return f'<img alt="{html.escape(panel.title)}" src="data:image/svg+xml;base64,{data}">'


def table(panel: Panel, study: Study) -> str:
    """The first rows of a table that runs log: of the control, or of the first arm."""
    arm = study.control or study.arms[0].name
    run = study.scores.loc[study.scores["arm"] == arm, "run"].iloc[0]
    samples, _ = read_rows(study.path / run / "samples.jsonl")
    if panel.title == "samples":
        columns, rows = ["source", "reference", "hypothesis"], samples
    else:
        columns, rows = ["t", "text"], max((row.get("trajectory") or [] for row in samples), key=_texts, default=[])
        rows = rows[:: max(1, len(rows) // ROWS)]
    if not rows:
        raise Missing(f"{run} has no {panel.title}")
    return _rows(columns, rows[:ROWS])


def _texts(trajectory: list[dict[str, Any]]) -> int:
    """How many different texts a decoding went through."""
    return len({str(step.get("text")) for step in trajectory})


def _rows(columns: list[str], rows: list[dict[str, Any]]) -> str:
    head = "".join(f"<th>{name}</th>" for name in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(str(row.get(name, '')))}</td>" for name in columns) + "</tr>"
        for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"
