"""What an agent keeps on disk: read by the real client, and by the next agent."""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import wandb

from core.errors import UserError
from sweeps.agents.agent_ledger import Ledger


def test_the_client_reads_the_parameters_as_the_ledger_writes_them(tmp_path: Path) -> None:
    found = [{"a": True, "text": "x: 'y' é", "o": {"n": None, "f": 1e-05}}]
    ledger = Ledger(tmp_path / "sweep-s", "s", found)
    claim = ledger.claim(0)
    assert claim is not None and ledger.claim(0) is None, "one at a time"
    path = ledger.begin(claim)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # theirs
        assert wandb.sdk.lib.config_util.dict_from_config_file(str(path)) == found[0]
    assert json.loads(path.with_suffix(".json").read_text()) == found[0]
    claim.release()
    assert ledger.standing(0).state == "interrupted"


def test_a_point_whose_result_is_gone_is_done_again(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "s", [{"a": 1}])
    claim = ledger.claim(0)
    assert claim is not None
    ledger.begin(claim)
    ledger.path("exit", claim.run).write_text("0\n")
    claim.release()
    assert ledger.standing(0).state == "done" and ledger.claim(0) is None
    later = Ledger(tmp_path, "s", [{"a": 1}], there=lambda index: False)
    again = later.claim(0)
    assert later.standing(0).state == "running" and again is not None and again.run == "s-000-2"
    again.release()
    assert later.standing(0).state == "interrupted"


def test_other_points_under_the_same_id_are_refused(tmp_path: Path) -> None:
    """With an id that was given, the file may have changed: what is done would stand for what never ran."""
    found: list[dict[str, Any]] = [{"a": float("nan")}, {"a": "é\u2028\nü"}, {"a": 3}]
    Ledger(tmp_path, "s", found[:2])
    Ledger(tmp_path, "s", found)
    Ledger(tmp_path, "s", found[:1])
    with pytest.raises(UserError, match=r"points.jsonl:2: .*\{'a': 4\}.*another --sweep-id"):
        Ledger(tmp_path, "s", [found[0], {"a": 4}])
    assert len((tmp_path / "points.jsonl").read_text().split("\n")) == 4, "the longest list stays"
