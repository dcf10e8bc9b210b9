"""Decoding over fixed shapes, its calls recorded and replayed: what is written is the same."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from ablations import presets
from core import evaluator, methods
from core.candidates import Candidates
from core.config import RunConfig, all_options, with_values
from core.methods import method_for
from core.methods.method import Method
from core.model import Model
from core.networks import replays
from core.networks.recording import recorder_of_graphs, rerun
from core.networks.replays import Replays, enlarged, replaying, replays_on, rounded
from core.text.batches import Batch
from core.text.materials import prepare
from core.text.tokenizer import BOS, EOS, PAD, Tokenizer, Words

SMALL = {"model_dim": 16, "ffn_dim": 16, "heads": 2, "encoder_layers": 1, "decoder_layers": 1}
TYPES, LONGEST = 40, 30
SIZED = [name for name in methods.names() if SMALL.keys() <= all_options(RunConfig(methods.options(name))).keys()]
CASES: dict[str, dict[str, Any]] = {name: {"method": name} for name in SIZED if name != "autoregressive"}
CASES |= {
    "difformer, clamping": {"clamping": True, "length_candidates": 3, "noise_candidates": 2},
    "difformer, fixed t": {"fixed_t": 0.5, "sampler": "ddim"},
    "difformer, no self-conditioning": {"self_conditioning": False, "sampler": "dpm_solver", "early_stop": 0},
    "dinoiser, candidates": {"method": "dinoiser", "length_candidates": 2, "noise_candidates": 2, "clamping": True},
    "diffusion_lm, candidates": {"method": "diffusion_lm", "noise_candidates": 3, "target_length": 9},
    "diffuseq, one length": {"method": "diffuseq", "sequence_length": 24},
    "diffuseq, places of their own": {"method": "diffuseq", "restart_positions": True, "target_length": 9},
    "diffuseq, absorbing": {"method": "diffuseq", "absorbing": True, "noise_candidates": 2, "target_length": 9},
    "seqdiffuseq, candidates": {"method": "seqdiffuseq", "noise_candidates": 2, "target_length": 9},
    "cmlm, mask-predict": {"method": "cmlm", "form": "mask_predict", "own_mask": True, "length_candidates": 3},
    "mdlm, by chance": {"method": "mdlm", "unmasking": "ancestral"},
    "rdm, multinomial": {"method": "rdm", "noise": "multinomial", "length_candidates": 2},
}


def begin(values: dict[str, Any], device: str = "cpu") -> tuple[Method[Any], Any]:
    """A method and a network that has learned nothing."""
    torch.manual_seed(1)
    method = method_for(with_values(RunConfig(), {**SMALL, **values}).method)
    return method, method.build(TYPES, LONGEST).to(device).eval()


def batches(shapes: list[tuple[int, int]], device: str = "cpu") -> Iterator[Batch]:
    """Batches of random sentences: so many rows, the longest with so many tokens; others each time a shape comes."""
    for index, (rows, longest) in enumerate(shapes):
        torch.manual_seed(1000 * shapes[:index].count((rows, longest)) + 10 * rows + longest)
        source = torch.randint(4, TYPES, (rows, longest))
        lengths = torch.randint(2, longest + 1, (rows,))
        lengths[0] = longest
        places = torch.arange(longest)
        source = torch.where(places < lengths[:, None] - 1, source, PAD)
        source = torch.where(places == lengths[:, None] - 1, EOS, source)
        yield Batch.padded(source, torch.tensor([[BOS, EOS]]).expand(rows, -1)).to(device)


SHAPES = [(5, 7), (34, 18), (33, 17), (34, 17), (5, 7), (33, 18)]


class Standing:
    """Stands for CUDA graphs on a CPU: recording runs nothing that counts, and each replay writes to the same place."""

    def __init__(self) -> None:
        self.recorded = self.replayed = 0

    def __call__(self, work: Callable[[], Tensor]) -> Callable[[], Tensor]:
        with FakeTensorMode(allow_non_fake_inputs=True):  # has no values: what asks for one could not be captured
            work()
        made = torch.full_like(work(), torch.nan)
        self.recorded += 1

        def replay() -> Tensor:
            self.replayed += 1
            return made.copy_(work())

        return replay


@torch.no_grad()
def decoded(method: Method[Any], network: Any, shapes: list[tuple[int, int]], device: str = "cpu") -> list[Candidates]:
    """What is written for each batch."""
    decoding = method.with_steps(method.options.decoding, 5)
    return [method.decode(network, batch, decoding, 1) for batch in batches(shapes, device)]


def assert_same(found: list[Candidates], wanted: list[Candidates]) -> None:
    for one, other in zip(found, wanted, strict=True):
        assert one.ids() == other.ids()
        torch.testing.assert_close(one.score, other.score, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("values", CASES.values(), ids=CASES)
def test_replayed_calls_write_the_same(values: dict[str, Any]) -> None:
    method, network = begin(values)
    recorder = Standing()
    wanted = decoded(method, network, SHAPES)
    with replaying(made := Replays(recorder)):
        assert_same(decoded(method, network, SHAPES), wanted)
        assert_same(decoded(method, network, SHAPES[:2]), wanted[:2])
    assert len(made.held) < len(SHAPES), "batches that differ a little come to one shape"
    assert 0 < recorder.recorded <= 2 * len(made.held) and recorder.replayed > recorder.recorded
    assert replays.current() is None


def test_replays_go_by_the_weights_as_they_are_now() -> None:
    method, network = begin({})
    recorder, shapes = Standing(), SHAPES[:1]
    with replaying(Replays(recorder)):
        before = [decoded(method, network, shapes) for _ in range(3)][-1]
        with torch.no_grad():
            for value in network.parameters():
                value.mul_(1.5)
        after = decoded(method, network, shapes)
    assert recorder.recorded == 2, "with and without a last prediction"
    assert before[0].ids() != after[0].ids()
    assert_same(after, decoded(method, network, shapes))


@pytest.mark.parametrize("name", ["difformer", "diffuseq", "seqdiffuseq", "cmlm"])
def test_a_decoding_that_was_no_number_leaves_nothing_behind(name: str) -> None:
    """What stands in padding is not looked at, but 0 times what is no number is none either."""
    method, network = begin({"method": name})
    kept = {key: value.clone() for key, value in network.state_dict().items() if isinstance(value, Tensor)}
    shapes = [(34, 18), (33, 17)]
    wanted = decoded(method, network, shapes)
    with replaying(Replays(Standing())):
        for _ in range(2):
            decoded(method, network, shapes)
        with torch.no_grad():
            for value in network.parameters():
                value.fill_(torch.nan)
        decoded(method, network, shapes[:1])
        network.load_state_dict(kept, strict=False)
        assert_same(decoded(method, network, shapes[1:]), wanted[1:])


def test_a_shape_that_comes_once_is_not_recorded_nor_one_without_room() -> None:
    method, network = begin({})
    recorder, shapes = Standing(), [(2, 6), (3, 6), (4, 6)]
    with replaying(made := Replays(recorder)):
        decoded(method, network, shapes)
        assert recorder.recorded == 0 and not made.held
        decoded(method, network, shapes[:1])
        assert recorder.recorded == 2 and len(made.held) == 1
    size = next(iter(made.held.values())).size()
    with replaying(made := Replays(Standing(), room=2 * size)):
        for _ in range(3):
            decoded(method, network, shapes)
    assert len(made.held) == 1 and made.room == size, "room for the first of them, and not for a larger one"


def test_other_precision_is_another_recording() -> None:
    method, network = begin({})
    recorder, cached, denoise = Standing(), list[bool](), network.denoise

    def watched(*given: Any) -> Tensor:
        cached.append(torch.is_autocast_cache_enabled())
        return denoise(*given)

    network.denoise = watched
    with replaying(Replays(recorder)):
        decoded(method, network, SHAPES[:1] * 3)
        with torch.autocast("cpu", torch.bfloat16):
            narrow = [decoded(method, network, SHAPES[:1])[0] for _ in range(3)]
            assert torch.is_autocast_cache_enabled() and not any(cached[-4:]), "copies of weights would be frozen"
    assert recorder.recorded == 4
    assert narrow[0].ids() == narrow[1].ids() == narrow[2].ids()


def test_what_cannot_be_captured_is_run_as_it_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    method, network = begin({})
    wanted = decoded(method, network, SHAPES)

    def refused(work: Callable[[], Tensor]) -> Callable[[], Tensor]:
        raise RuntimeError("operation not permitted when stream is capturing\nand more lines")

    with replaying(made := Replays(refused)):
        for _ in range(2):
            assert_same(decoded(method, network, SHAPES), wanted)
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "cannot be captured in CUDA graphs (operation not permitted when" in said
    assert made.recorder is rerun


def test_a_model_decodes_with_its_replays() -> None:
    config = with_values(RunConfig(), SMALL)
    method = method_for(config.method)
    tokenizer = Tokenizer(Words([f"w{index}" for index in range(TYPES - 4)]))
    network = method.build(len(tokenizer), LONGEST).eval()
    recorder, lines = Standing(), ["w1 w2 w3", "w4 w5"]
    model = Model(method, network, config, tokenizer, replays=Replays(recorder))
    found = [model.translate(lines) for _ in range(3)]
    assert found[0] == found[1] == found[2] == Model(method, network, config, tokenizer).translate(lines)
    assert recorder.replayed > 0
    assert replays_on(torch.device("cpu")) is None and replays_on(torch.device("cuda"), wanted=False) is None


def test_validations_replay_unless_the_step_is_eager(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Replays | None] = []

    def asked(device: torch.device, wanted: bool) -> Replays | None:
        made.append(Replays(Standing()) if wanted else None)
        return made[-1]

    monkeypatch.setattr(evaluator, "replays_on", asked)
    config = presets.get("smoke").config_for("difformer")
    text, cpu = prepare(config.data), torch.device("cpu")
    network = evaluator.new_network(config, method_for(config.method), text, cpu).eval()
    scores = []
    for step in ("auto", "graph", "eager"):
        judge = evaluator.Evaluator(text, config, cpu, step=step)
        scores.append([judge.validate(network)["val/bleu"] for _ in range(3)])
    assert made[-1] is None and all(replays is not None and replays.held for replays in made[:2])
    assert len({score for row in scores for score in row}) == 1


@given(count=st.integers(1, 100_000), parts=st.sampled_from([8, 16]))
def test_numbers_are_rounded_up_to_few(count: int, parts: int) -> None:
    found = rounded(count, parts)
    assert count <= found <= count * (1 + 1 / parts)
    assert rounded(found, parts) == found
    assert len({rounded(n, parts) for n in range(1025, 2049)}) == parts
    assert rounded(count, parts, most=50) == max(count, min(found, 50))


def test_what_is_beyond_the_last_row_is_that_row_again() -> None:
    values = torch.arange(1, 7).view(2, 3)
    assert enlarged(values, 4, 5).tolist() == [[1, 2, 3, 0, 0], [4, 5, 6, 0, 0], [4, 5, 6, 0, 0], [4, 5, 6, 0, 0]]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("values", CASES.values(), ids=CASES)
def test_captured_calls_write_the_same(values: dict[str, Any]) -> None:
    method, network = begin(values, "cuda")
    wanted = decoded(method, network, SHAPES, "cuda")
    with replaying(made := Replays(recorder_of_graphs(torch.device("cuda")))):
        assert_same(decoded(method, network, SHAPES, "cuda"), wanted)
        assert_same(decoded(method, network, SHAPES, "cuda"), wanted)
    assert made.recorder is not rerun and any(held.again for held in made.held.values())
