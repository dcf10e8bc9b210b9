"""What a dashboard elsewhere needs to know of a study, as JSON on the standard output: python -m analysis.snapshot DIR

Its description, the colour of each arm in our figures, and, where there are results, the tables as Markdown and the
lines on how to read them. A study without any result yet has its description and colours, and the reason.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.claims import Claim, claims, digits
from analysis.files import read_study
from analysis.footer import footer
from analysis.how_to_read import how_to_read
from analysis.load import RUN_COLUMNS, ArmResults, StudyResults, load
from analysis.markup import markdown
from analysis.numbers import number
from analysis.style import arm_style
from analysis.tables import grids
from core.errors import UserError, command


def read_description(path: Path) -> StudyResults | None:
    """The study that study.json describes, all arms present and nothing run; None without a study.json."""
    info = read_study(path)
    if info is None:
        return None
    arms = tuple(
        ArmResults(arm["name"], str(arm.get("label") or arm["name"]), dict(arm.get("toggles") or {}))
        for arm in info.get("arms") or []
    )
    factors = {name: list(levels) for name, levels in (info.get("factors") or {}).items()}
    frames = {name: pd.DataFrame() for name in ("scores", "steps", "metrics", "failed")}
    return StudyResults(
        name=str(info.get("study") or path.name),
        path=path,
        info=info,
        arms=arms,
        factors=factors,
        runs=pd.DataFrame(columns=RUN_COLUMNS),
        probes={},
        records={},
        notes=(),
        **frames,
    )


def snapshot(path: Path) -> dict[str, Any]:
    """The description as plain JSON values. Raises UserError if the folder holds no study at all."""
    try:
        study = load(path)
    except UserError as error:
        bare = read_description(path)
        if bare is None:
            raise
        return _head(bare) | {"results": 0, "why": str(error)}
    tables, _, _, tested = grids(study)
    return _head(study) | {
        "results": len(study.scores),
        "failed": len(study.failed),
        "tables": [{"title": grid.title, "text": markdown([grid], []).split("\n\n", 1)[1].strip()} for grid in tables],
        "claims": [claim_row(claim) for claim in claims(study)],
        "reading": how_to_read(study, tested),
        "footer": footer(study),
    }


def claim_row(claim: Claim) -> dict[str, str]:
    """A claim as text: statement, verdict, effect with interval (of two seeds both values), reason."""
    effect = claim.effect
    sign = not claim.unit.startswith(("times", "share", "%"))  # of a difference
    numbers = [number(value, digits(claim), sign) for value in (effect.estimate, effect.low, effect.high)]
    few = "; ".join(number(value, digits(claim), sign) for value in claim.few)
    spread = f"({few})" if few else f"[{numbers[1]}, {numbers[2]}]"
    text = f"{numbers[0]} {spread} {claim.unit}" if few or effect.defined else "n/a"
    return {"statement": claim.statement, "verdict": claim.verdict, "effect": text, "reason": claim.reason}


def _head(study: StudyResults) -> dict[str, Any]:
    colors = {name: look.color for name, look in arm_style(study).items()}
    return {"name": study.name, "info": study.info | {"banner": study.banner or None}, "colors": colors}


@command
def main() -> None:
    """Print the snapshot."""
    parser = argparse.ArgumentParser(prog="python -m analysis.snapshot", description="A study as JSON.")
    parser.add_argument("study_dir", type=Path, help="folder of a study, such as runs/modules")
    print(json.dumps(snapshot(parser.parse_args().study_dir), default=str))


if __name__ == "__main__":
    main()
