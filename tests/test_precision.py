"""The rule that chooses the precision."""

from typing import Any

import pytest
import torch

from core import precision
from core.config import RunConfig, with_values
from core.precision import WIDE, mixed_precision

CPU = torch.device("cpu")


@pytest.mark.parametrize("able", [True, False])
@pytest.mark.parametrize("decoding", [True, False])
@pytest.mark.parametrize(("width", "wide"), [(WIDE, True), (WIDE // 2, False)])
def test_auto_takes_bfloat16_where_it_is_multiplied_and_pays(
    able: bool, decoding: bool, width: int, wide: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda device: able)
    config = with_values(RunConfig(), {"model_dim": width})
    assert mixed_precision(config, CPU, decoding) == (able and wide)
    assert mixed_precision(config, torch.device("cuda"), decoding) == able


@pytest.mark.parametrize("able", [True, False])
def test_what_is_asked_for_is_done_in_training_and_decoding_apart(able: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda device: able)
    values: dict[str, Any] = {"precision": "bfloat16", "decoding_precision": "float32", "model_dim": WIDE}
    config = with_values(RunConfig(), values)
    assert mixed_precision(config, CPU) and not mixed_precision(config, CPU, decoding=True)
