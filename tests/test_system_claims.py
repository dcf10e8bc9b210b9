"""The claims about other systems: each against Difformer, corrected together; none against one that has not learned."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from fake_runs import edit, write_study

from ablations.studies import STUDIES
from analysis.claims import Claim, claims
from analysis.load import load
from analysis.published import published
from analysis.questions.systems import SYSTEMS
from analysis.report.sections.verdicts import verdicts_section
from core import methods

BASE = {
    "difformer": 70, "autoregressive": 70.5, "cmlm": 60, "rdm": 72, "mdlm": 60, "diffuseq": 50, "diffusion_lm": 40,
    "seqdiffuseq": 55, "dinoiser": 70,
}  # fmt: skip
WOBBLE = {1: -0.15, 2: 0.05, 3: 0.15, 4: -0.05}


def systems(tmp_path: Path, **changed: float) -> Path:
    """All systems with scores that scatter a little, none in the same way."""
    path = write_study(tmp_path, "all_systems", seeds=tuple(WOBBLE))
    for file in path.glob("*/run.json"):
        record = json.loads(file.read_text())
        base, scatter = (BASE | changed)[record["arm"]], (1 + list(BASE).index(record["arm"])) / 4
        edit(file.parent / "scores.json", bleu=base + scatter * WOBBLE[record["seed"]])
    edit(path / "study.json", claims=list(STUDIES["systems"].claims))
    return path


def verdicts(path: Path) -> dict[str, Claim]:
    return {claim.key: claim for claim in claims(load(path))}


def test_each_system_has_its_verdict_and_says_with_what_budget(tmp_path: Path) -> None:
    path = systems(tmp_path)
    found = verdicts(path)
    assert list(found) == list(STUDIES["systems"].claims) == [claim.key for claim in SYSTEMS]
    said = {key: claim.verdict for key, claim in found.items()}
    lower = ("above_diffuseq", "above_seqdiffuseq", "above_diffusion_lm", "above_cmlm")
    assert said == dict.fromkeys(lower, "reproduced") | {
        "above_dinoiser": "undecided", "above_rdm": "not reproduced", "near_autoregressive": "reproduced",
    }  # fmt: skip
    assert found["above_diffuseq"].effect.estimate == pytest.approx(20)
    assert "after Holm's correction for 7 system claims" in found["above_rdm"].reason
    assert "Here both had 700 updates of 1024 tokens and no tuning; the paper" in found["above_rdm"].reason
    assert "the paper's Difformer had 300,000 updates" in found["above_rdm"].reason


def test_the_report_says_once_how_options_were_chosen(tmp_path: Path) -> None:
    path = systems(tmp_path)
    edit(path / "study.json", tuning="none per arm; all options by runs of the full model.")
    section = verdicts_section(load(path))
    assert section and str(section.body).count("Tuning: none per arm; all options by runs of the full model.<") == 1


def test_close_is_within_a_point(tmp_path: Path) -> None:
    assert verdicts(systems(tmp_path / "a", autoregressive=70))["near_autoregressive"].verdict == "reproduced"
    claim = verdicts(systems(tmp_path / "b", autoregressive=74))["near_autoregressive"]
    assert (claim.verdict, claim.edges) == ("not reproduced", (-1.0,))


def test_a_system_that_has_not_learned_gives_no_verdict_but_was_asked(tmp_path: Path) -> None:
    found = verdicts(systems(tmp_path, diffusion_lm=1.5))
    claim = found["above_diffusion_lm"]
    assert claim.verdict == "no verdict" and claim.effect.estimate == pytest.approx(68.5)
    assert claim.reason.startswith("No verdict: nothing shows that diffusion_lm has learned.")
    assert "for 7 system claims" in found["above_rdm"].reason and found["above_rdm"].verdict == "not reproduced"


def test_of_a_metric_without_a_scale_there_is_no_margin(tmp_path: Path) -> None:
    path = systems(tmp_path)
    for file in path.glob("*/scores.json"):
        edit(file, coverage=json.loads(file.read_text())["bleu"] / 100)
    edit(path / "study.json", metric="coverage")
    claim = verdicts(path)["near_autoregressive"]
    assert claim.verdict == "undecided" and "A margin of 1 is one of scores from 0 to 100." in claim.reason


def test_budgets_that_differ_are_told(tmp_path: Path) -> None:
    path = systems(tmp_path)
    for file in path.glob("rdm-*/run.json"):
        record = json.loads(file.read_text())
        edit(file, config=record["config"] | {"training_seconds": 30.0}, tuning={"trials": 8})
    reason = verdicts(path)["above_rdm"].reason
    assert "no tuning, rdm 30 seconds of training and 8 trials of tuning;" in reason


def test_systems_as_released_are_judged_too(tmp_path: Path) -> None:
    """They differ in all that their recipes say: that is what the claims are about."""
    path = systems(tmp_path)
    arms = json.loads((path / "study.json").read_text())["arms"]
    arms = [arm | {"values": methods.released(arm["name"]) | arm["values"]} for arm in arms]
    edit(path / "study.json", arms=arms, varies=STUDIES["systems"].varies)
    for file in path.glob("*/run.json"):
        record = json.loads(file.read_text())
        edit(file, config=record["config"] | methods.released(record["arm"]))
    found = verdicts(path)
    assert len(found) == 7 and {claim.seeds for claim in found.values()} == {4}
    assert found["above_cmlm"].verdict == "reproduced" and found["above_rdm"].verdict == "not reproduced"
    assert "difformer had 300,000 updates of 8192 tokens" in found["above_rdm"].reason


def test_a_system_without_a_result_is_not_judged(tmp_path: Path) -> None:
    path = systems(tmp_path)
    for file in path.glob("cmlm-*/run.json"):
        edit(file, state="failed", reason="killed")
    claim = verdicts(path)["above_cmlm"]
    assert claim.verdict == "undecided" and claim.reason.startswith("This study has no arm")


def test_another_control_than_difformer_judges_none(tmp_path: Path) -> None:
    path = systems(tmp_path)
    edit(path / "study.json", control="rdm")
    assert {claim.seeds for claim in verdicts(path).values()} == {0}


@pytest.mark.parametrize("claim", SYSTEMS, ids=lambda claim: claim.key)
def test_numbers_on_a_card_stand_in_the_file(claim: Any, tmp_path: Path) -> None:
    study = load(systems(tmp_path))
    text = claim.effect.notes[-1](study, [], None)
    numbers = set(re.findall(r"\d+\.\d+", text))
    assert numbers and numbers <= set(published()["value"])
