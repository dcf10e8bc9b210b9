"""The autoregressive Transformer: its mask, its loss, its decoding against enumeration, exact resume."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch

from ablations import presets
from core import checkpoints, run_folder
from core.config import RunConfig, with_values
from core.methods import method_for
from core.methods.autoregressive import token_losses
from core.methods.autoregressive_options import Options
from core.methods.method import Loss, NoDraws
from core.networks import beam
from core.networks.causal import CausalTransformer
from core.sections import NetworkConfig
from core.text.batches import Batch, BatchStream
from core.text.materials import prepare
from core.text.tokenizer import BOS, EOS, PAD
from core.training import train
from core.training.job import Job
from core.training.step import reduced

SMALL = NetworkConfig(model_dim=16, ffn_dim=32, heads=2, encoder_layers=1, decoder_layers=2, initialization="xavier")


def network(vocab: int = 12, positions: int = 20, seed: int = 3, **values: Any) -> CausalTransformer:
    """A network whose distributions are far from uniform."""
    torch.manual_seed(seed)
    model = CausalTransformer(NetworkConfig(**(vars(SMALL) | values)), vocab, positions).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def batch(vocab: int = 12, rows: int = 3, lengths: tuple[int, int] = (5, 7)) -> Batch:
    """Random pairs, the first the longest on both sides."""
    torch.manual_seed(4)
    source, target = (torch.randint(4, vocab, (rows, length)) for length in lengths)
    target[:, 0] = BOS
    for row in range(rows):
        for side in (source, target):
            end = side.shape[1] - row
            side[row, end - 1] = EOS
            side[row, end:] = PAD
    return Batch.padded(source, target)


@pytest.mark.parametrize("values", [{}, {"pre_norm": True, "learned_positions": False}], ids=["post-norm", "pre-norm"])
def test_no_position_sees_a_later_one(values: dict[str, Any]) -> None:
    model, pairs = network(**values), batch()
    source = model.encode(pairs.source, pairs.source_mask)
    before = model.states(pairs.target, source)
    for place in range(1, pairs.target.shape[1]):
        changed = pairs.target.clone()
        changed[:, place] = 4 + (changed[:, place] + 1) % 8
        after = model.states(changed, source)
        assert torch.equal(after[:, :place], before[:, :place])
        assert not torch.allclose(after[:, place], before[:, place], atol=1e-3)


def test_padding_changes_nothing() -> None:
    model, pairs = network(), batch()
    alone = Batch.padded(pairs.source[2:, :3], pairs.target[2:, :5])
    together = token_losses(model, pairs, 0.1)[0][-4:]
    torch.testing.assert_close(token_losses(model, alone, 0.1)[0], together)


def test_the_loss_is_label_smoothed_cross_entropy_of_the_next_token() -> None:
    model, pairs = network(), batch()
    logits = model.embedding.logits(model.states(pairs.target, model.encode(pairs.source, pairs.source_mask)))
    log_p = logits.log_softmax(-1)
    smoothed, plain = [], []
    for row, ids in enumerate(pairs.target.tolist()):
        for place, wanted in enumerate(ids[1:]):
            if wanted != PAD:
                plain.append(-log_p[row, place, wanted])
                smoothed.append(0.9 * plain[-1] - 0.1 * log_p[row, place].mean())
    found = token_losses(model, pairs, 0.1)
    torch.testing.assert_close(found, (torch.stack(smoothed), torch.stack(plain)))
    method, mean_nll = method_for(Options()), pytest.approx(float(torch.stack(plain).mean().detach()))
    made = method.loss(model, pairs, method.draw(model, pairs, 1, 0))
    torch.testing.assert_close(loss_of(made, pairs), torch.stack(smoothed).mean())
    assert float(made.watched()["nll"].values.detach().mean()) == mean_nll
    with torch.no_grad():
        assert method.held_out(model, [pairs]) == {"val/nll": mean_nll}


def loss_of(made: Loss, pairs: Batch) -> torch.Tensor:
    """The loss of a whole batch."""
    return reduced(made)


@pytest.mark.parametrize("values", [{}, {"pre_norm": True, "learned_positions": False}], ids=["post-norm", "pre-norm"])
def test_decoding_with_kept_keys_gives_the_numbers_of_the_whole_prefix(values: dict[str, Any]) -> None:
    model, pairs = network(**values), batch()
    source = model.encode(pairs.source, pairs.source_mask)
    whole = model.embedding.logits(model.states(pairs.target, source)).log_softmax(-1)
    past = None
    for place in range(pairs.target.shape[1]):
        log_p, past = model.step(pairs.target[:, place], place, past, source)
        torch.testing.assert_close(log_p, whole[:, place])


def test_beam_1_is_greedy() -> None:
    for seed in range(5):
        model, pairs = network(vocab=9 + seed, seed=seed), batch(vocab=9 + seed, rows=4)
        (ids, score), (others, log_p) = beam.beam_search(model, pairs, 1, 1.0), beam.greedy(model, pairs)
        assert ids == others
        torch.testing.assert_close(score, log_p / torch.tensor([len(row) - 1 for row in ids]))
        for row, hypothesis in enumerate(ids):
            assert float(log_p[row]) == pytest.approx(log_probability(model, pairs, row, hypothesis), rel=1e-4)


def log_probability(model: CausalTransformer, pairs: Batch, row: int, ids: list[int]) -> float:
    """log p of a hypothesis, by teacher forcing."""
    one = Batch.padded(pairs.source[row : row + 1], torch.tensor([ids]))
    return -float(token_losses(model, one, 0.0)[1].sum().detach())


@pytest.mark.parametrize("penalty", [0.0, 0.6, 1.0, 2.0])
@pytest.mark.parametrize("seed", [3, 4, 5])
@pytest.mark.parametrize("kept", [1, 3])
def test_a_wide_beam_finds_the_best_of_all_hypotheses(
    kept: int, penalty: float, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three words, at most four tokens with EOS: 40 hypotheses, each scored on its own."""
    monkeypatch.setattr(beam, "limits", lambda mask, positions: torch.tensor([4, 3, 2]))
    model, pairs = network(vocab=7, seed=seed), batch(vocab=7)
    found, best = beam.beam_search(model, pairs, 40, penalty, kept)
    for row, limit in enumerate((4, 3, 2)):
        hypotheses = [
            [BOS, *words, EOS] for length in range(limit) for words in itertools.product((4, 5, 6), repeat=length)
        ]
        scores = [log_probability(model, pairs, row, ids) / (len(ids) - 1) ** penalty for ids in hypotheses]
        ranked = sorted(zip(scores, hypotheses, strict=True), reverse=True)[:kept]
        ours = slice(row * kept, (row + 1) * kept)
        assert found[ours] == [ids for _, ids in ranked]
        assert best[ours].tolist() == pytest.approx([score for score, _ in ranked], rel=1e-4)


def test_a_beam_is_no_worse_than_greedy_and_batches_do_not_matter() -> None:
    model, pairs = network(vocab=30, positions=40), batch(vocab=30, rows=4)
    (found, score), (first, _) = beam.beam_search(model, pairs, 5, 0.0), beam.greedy(model, pairs)
    for row, ids in enumerate(found):
        assert log_probability(model, pairs, row, ids) >= log_probability(model, pairs, row, first[row]) - 1e-4
        alone = Batch.padded(pairs.source[row : row + 1, : 5 - row], pairs.target[row : row + 1])
        again, its_score = beam.beam_search(model, alone, 5, 0.0)
        assert again == [ids] and float(its_score) == pytest.approx(float(score[row]), rel=1e-4)


def test_no_hypothesis_is_longer_than_the_limit_or_holds_special_tokens() -> None:
    model, pairs = network(vocab=30), batch(vocab=30)
    with torch.no_grad():
        model.embedding.table[EOS] = -10 * model.embedding.table.abs().sum(0)
    for ids in [*beam.greedy(model, pairs)[0], *beam.beam_search(model, pairs, 3, 1.0)[0]]:
        assert ids[0] == BOS and ids[-1] == EOS and len(ids) <= 20
        assert not set(ids[1:-1]) & {BOS, PAD, EOS, 3}


# Training


def smoke(**values: Any) -> RunConfig:
    return with_values(
        presets.get("smoke").config_for("autoregressive"), {"checkpoint_seconds": 0.0, "dropout": 0.2, **values}
    )


def fresh(config: RunConfig) -> CausalTransformer:
    torch.manual_seed(config.seed)
    vocab = len(prepare(config.data).tokenizer)
    made: CausalTransformer = method_for(config.method).build(vocab, config.data.max_length)
    return made


def job(config: RunConfig, folder: Path, rows: list[dict[str, Any]], stop: int | None = None) -> Job:
    """A training job that breaks off as it logs step `stop`."""
    folder.mkdir(exist_ok=True)

    def log(row: dict[str, Any]) -> None:
        rows.append(row)
        if row["train/step"] == stop and "train/loss" in row:
            raise InterruptedError

    def validate(model: CausalTransformer) -> dict[str, float]:
        return {"val/bleu": float(model.embedding.table.detach().double().sin().sum())}

    stream = BatchStream(prepare(config.data).train, config.training.batch_tokens, config.seed)
    return Job(config, method_for(config.method), folder, stream, validate, log)


@pytest.mark.parametrize("stop", [1, 6, 11])
def test_stopped_and_resumed_ends_with_the_same_weights(stop: int, tmp_path: Path) -> None:
    config = smoke(log_every=1)
    train(fresh(config), job(config, tmp_path / "whole", []))
    with pytest.raises(InterruptedError):
        train(fresh(config), job(config, tmp_path / "half", [], stop))
    train(fresh(config), job(config, tmp_path / "half", []))
    for name in (run_folder.STATE, run_folder.WEIGHTS):
        one, other = (checkpoints.load(tmp_path / folder / name)[0] for folder in ("whole", "half"))
        assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_it_learns_and_every_parameter_takes_part(tmp_path: Path) -> None:
    config = smoke(updates=100, lr=4e-3, warmup=20, log_every=1, valid_every=100, dropout=0.0)
    rows: list[dict[str, Any]] = []
    model = fresh(config)
    train(model, job(config, tmp_path / "run", rows))
    losses = [row["train/nll"] for row in rows if "train/nll" in row]
    assert sum(losses[-10:]) < 0.6 * sum(losses[:10])
    pairs = BatchStream(prepare(config.data).train, 256, 1).at(0)
    loss_of(method_for(config.method).loss(model, pairs, NoDraws()), pairs).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not bool(p.grad.any())] == []
