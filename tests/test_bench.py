"""What `make bench` decodes is as long as it says; the measurements on a GPU run through, here on a CPU."""

import json
from pathlib import Path

import pytest
import torch

from ablations import presets
from core import bench
from core.config import RunConfig, with_values
from core.measuring import gpu_attention, gpu_bench, rates
from core.measuring.gpu_attention import FORMS
from core.methods import method_for
from core.text.batches import decode_batches

SIZE = {"model_dim": 16, "latent_dim": 8, "ffn_dim": 16, "encoder_layers": 1, "decoder_layers": 1}


def test_an_untrained_network_writes_as_many_tokens_as_the_references_have() -> None:
    method = method_for(with_values(RunConfig(), {**SIZE, "decoding_steps": 2, "early_stop": 0}).method)
    torch.manual_seed(1)
    network = method.build(50, 128).eval()
    text, lengths = rates.random_text(50, 40), []
    for _, batch in decode_batches(text, 256):
        rates.write_true_lengths(network, batch)
        found = method.decode(network, batch, method.options.decoding, 1)
        assert torch.equal(found.mask.sum(1), batch.target_mask.sum(1))
        lengths += found.mask.sum(1).tolist()
    assert len(lengths) == 40 and 12 < sum(lengths) / 40 < 16


@pytest.mark.slow
def test_what_is_measured_on_a_gpu_runs_through(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    size = rates.Size("small", {**SIZE, "model_dim": 32, "ffn_dim": 32}, 100, 64, 0, 0)
    gpu_bench.run(torch.device("cpu"), tmp_path / "found.json", (size,), quick=True)
    found = json.loads((tmp_path / "found.json").read_text())
    assert not [row for row in found["rows"] if "failed" in row]
    by = {
        what: [row for row in found["rows"] if row["what"] == what] for what in {row["what"] for row in found["rows"]}
    }
    assert by.keys() == {"equal to eager", "training", "resumed", "deterministic", "decoding", "attention", "workers"}
    assert by["equal to eager"][0]["largest_relative_difference"] == 0 and by["resumed"][0]["same_bits"]
    assert by["deterministic"][0]["same_bits"] and by["deterministic"][0]["ms"] > 0
    assert {row["mode"] for row in by["training"]} == {"eager", "graph"}
    assert all(row["tflops"] > 0 and row["share_of_peak"] > 0 for row in by["training"])
    assert all(row["same_tokens"] == 1 and row["recorded_shapes"] for row in by["decoding"])
    assert [row["form"] for row in by["attention"]] == ["sdpa", "products"]
    assert len(capsys.readouterr().out.splitlines()) == len(found["rows"]) + 1


@pytest.mark.parametrize("form", [form for form in FORMS if form not in ("sdpa, efficient", "sdpa, cudnn")])
def test_forms_of_attention_agree(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda function, dynamic: function)
    found = gpu_attention.attention(form, 12, torch.device("cpu"), 96)
    assert found["rows"] == 8 and found["largest_gap"] < 0.05


def test_the_sizes_measured_are_those_of_the_presets() -> None:
    for size, preset in zip(rates.GPU_SIZES, ("iwslt14", "gpu"), strict=True):
        values = presets.get(preset).values
        assert size.options.items() <= values.items() | {("encoder_layers", 4)}, preset
        assert size.batch_tokens == values["batch_tokens"]


def test_what_does_not_fit_into_eight_minutes_is_left_out_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu_bench, "LONGEST", 0.0)
    monkeypatch.setattr(gpu_bench.gpu_rates, "peak", lambda device, width: 1.0)
    gpu_bench.run(torch.device("cpu"), tmp_path / "found.json")
    rows = json.loads((tmp_path / "found.json").read_text())["rows"]
    assert {"training", "decoding", "attention", "workers", "deterministic"} < {row["what"] for row in rows}
    assert all(row["left out"] == "after 0 s nothing is begun" for row in rows)
    assert len([row for row in rows if row["what"] == "training"]) == 2 * 3 * 3
    assert "left out after 0 s" in capsys.readouterr().out


def test_the_rates_of_a_core_stand_beside_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rates, "SIZES", ())
    bench.measure_core(1, tmp_path / "found.json")
    found = json.loads((tmp_path / "found.json").read_text())
    said = capsys.readouterr().out
    assert said.startswith(f"{found['processor']}: matrix product on one thread: ") and found["processor"]
    assert f"torch {torch.__version__}" in said and found["gflops"].keys() == {"float32", "bfloat16"}
