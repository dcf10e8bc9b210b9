"""Decoding: candidates, lengths, determinism, work done once, every option of the sampler."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from core.checks import LEAST_PRESERVING
from core.diffusion import decoding as decoding_of
from core.diffusion.decoding import alike, candidate_lengths, candidates, read_out
from core.diffusion.denoiser import Denoiser, Memory, timestep_embedding
from core.diffusion.probes import embedding_spread, nearest_types
from core.diffusion.process import Visited
from core.methods import method_for
from core.methods.difformer_options import Options
from core.networks.transformer import CrossAttention
from core.options import replaced
from core.sections import DecodingConfig, DiffusionConfig
from core.text.batches import Batch
from core.text.tokenizer import PAD

SIZE = {"model_dim": 16, "latent_dim": 8, "ffn_dim": 16, "encoder_layers": 1, "decoder_layers": 1}


def model(**changes: Any) -> Denoiser:
    made: Denoiser = method_for(replaced(Options(), SIZE | changes)).build(30, 40)
    return made.eval()


def batch() -> Batch:
    source = torch.tensor([[5, 6, 7, 8, 2], [9, 4, 2, 1, 1]])
    return Batch.padded(source, source)


def visited(decoding: DecodingConfig) -> Visited:
    return Visited.build(DiffusionConfig(), decoding)


def test_lengths_of_candidates_stand_around_the_predicted_one() -> None:
    lengths = torch.tensor([3, 7])
    logits = torch.zeros(2, 256)
    logits[0, 128 + 1] = logits[1, 128 - 6] = 9.0
    memory = Memory((), torch.ones(2, 1, 1, 7), lengths, logits, torch.zeros(2, 7, 16))
    decoding = DecodingConfig(length_candidates=3, noise_candidates=2)
    assert candidate_lengths(model(), memory, decoding).tolist() == [3, 3, 4, 4, 5, 5, 2, 2, 2, 2, 2, 2]


def test_same_seed_same_tokens_and_another_seed_others() -> None:
    network, decoding = model(), DecodingConfig(noise_candidates=4, length_candidates=3)
    one, two, other = (candidates(network, visited(decoding), batch(), decoding, seed) for seed in (1, 1, 2))
    assert torch.equal(one.score, two.score) and one.ids() == two.ids()
    assert not torch.equal(one.score, other.score)
    assert len(one.ids()) == 2 * 12


def test_encoder_and_keys_run_once_for_all_steps_and_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = {"encode": 0, "memory": 0, "denoise": 0}
    for owner, name in ((Denoiser, "encode"), (CrossAttention, "memory"), (Denoiser, "denoise")):

        def counted(*arguments: object, _plain: object = getattr(owner, name), _name: str = name) -> object:
            calls[_name] += 1
            return _plain(*arguments)  # type: ignore[operator]

        monkeypatch.setattr(owner, name, counted)
    decoding = DecodingConfig(length_candidates=3, noise_candidates=2)
    candidates(model(), visited(decoding), batch(), decoding, 1)
    assert calls == {"encode": 1, "memory": 1, "denoise": 15}


@pytest.mark.parametrize("decoding", [DecodingConfig(), DecodingConfig(length_candidates=3, noise_candidates=2)])
def test_parts_of_one_length_decode_as_the_whole_batch(
    decoding: DecodingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [torch.randint(4, 30, (n,)) for n in (3, 30, 9, 4, 25, 12, 3, 18)]
    source = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)
    many, network = Batch.padded(source, source), model()
    network.predicted_lengths = lambda memory: memory.lengths  # type: ignore[method-assign]
    found = {}
    for tokens in (10**6, 60):
        monkeypatch.setattr(decoding_of, "PART_TOKENS", tokens)
        found[tokens] = candidates(network, visited(decoding), many, decoding, 1)
    memory = network.encode(many.source, many.source_mask)
    parts = alike(memory, found[60].mask)
    assert len(parts) >= 3 and sum(len(part.mask) for part in parts) == len(found[60].mask)
    assert sum(part.mask.numel() for part in parts) < 0.75 * found[60].mask.numel()
    assert found[60].ids() == found[10**6].ids()
    torch.testing.assert_close(found[60].score, found[10**6].score)


OPTIONS = [
    {"embedding_norm": place, "self_conditioning": on, "self_conditioning_before_projection": before}
    for place, on, before in itertools.product(("none", "latent", "decoder_input"), (True, False), (True, False))
] + [
    {"latent_dim": 16},
    {"share_projection": True},
    {"share_embedding": False},
    {"pre_norm": True},
    {"learned_positions": False},
    {"activation": "gelu", "rescale_timesteps": False, "length_offset": False, "embedding_norm_affine": False},
]


@pytest.mark.parametrize("changes", OPTIONS, ids=str)
def test_every_option_of_the_network_decodes(changes: dict[str, object]) -> None:
    decoding = DecodingConfig(decoding_steps=4, early_stop=1)
    found = candidates(model(**changes), visited(decoding), batch(), decoding, 1)
    assert bool(torch.isfinite(found.score).all())


@pytest.mark.parametrize(
    "decoding",
    [
        DecodingConfig(clamping=True),
        DecodingConfig(fixed_t=0.5),
        DecodingConfig(decoding_schedule="cdcd", decoding_variance_preserving=True, decoding_noise_factor=2.0),
        DecodingConfig(decoding_steps=1, early_stop=0),
        DecodingConfig(decoding_steps=2000, early_stop=1996),
        DecodingConfig(sampler="ddim"),
        DecodingConfig(sampler="ddim", eta=1.0, decoding_noise_factor=0.0),
        DecodingConfig(sampler="dpm_solver", spacing="log_snr"),
        DecodingConfig(sampler="dpm_solver", decoding_noise_factor=0.0),
        DecodingConfig(sampler="cedi", spacing="quadratic"),
        DecodingConfig(decoding_steps=3, early_stop=1, visited_steps="0,99,1000"),
        DecodingConfig(decoding_noise_factor=0.0),
        DecodingConfig(sampler="ddim", decoding_noise_factor=0.0),
        DecodingConfig(decoding_noise_factor=LEAST_PRESERVING, decoding_variance_preserving=True),
    ],
    ids=str,
)
def test_every_option_of_the_sampler_decodes(decoding: DecodingConfig) -> None:
    found = candidates(model(), visited(decoding), batch(), decoding, 1)
    assert bool(torch.isfinite(found.score).all())


@pytest.mark.parametrize("decoding", [DecodingConfig(clamping=True), DecodingConfig(noise_candidates=2)], ids=str)
def test_a_decoding_in_bfloat16_is_near_that_in_float32(decoding: DecodingConfig) -> None:
    network = model()
    plain = candidates(network, visited(decoding), batch(), decoding, 1)
    with torch.autocast("cpu", torch.bfloat16):
        found = candidates(network, visited(decoding), batch(), decoding, 1)
    assert found.score.dtype == torch.float32
    torch.testing.assert_close(found.score, plain.score, rtol=0.05, atol=0.05)


def test_clamped_predictions_are_embeddings() -> None:
    network, decoding = model(), DecodingConfig(clamping=True, decoding_steps=3, early_stop=0)
    seen: list[torch.Tensor] = []
    candidates(
        network, visited(decoding), batch(), decoding, 1, lambda m: lambda *, t, z_t, z_0_hat: seen.append(z_0_hat)
    )
    table = network.embedding.all_z_0().detach()
    for z in seen:
        assert float((z.flatten(0, 1)[:, None] - table).norm(dim=-1).min(1).values.max()) < 1e-5


def test_scores_are_mean_log_probabilities_of_real_tokens() -> None:
    network, z = model(), torch.randn(2, 3, 8)
    mask = torch.tensor([[True, True, True], [True, True, False]])
    found = read_out(network, z, mask)
    log_p = network.embedding.logits(z).log_softmax(-1).amax(-1)
    torch.testing.assert_close(found.score, torch.stack([log_p[0].mean(), log_p[1, :2].mean()]))
    assert [len(ids) for ids in found.ids()] == [3, 2]


def test_timestep_embedding_is_cos_then_sin() -> None:
    row = timestep_embedding(torch.tensor([2.0]), 4)[0]
    angles = torch.tensor([2.0, 2.0 / 100])
    torch.testing.assert_close(row, torch.cat([angles.cos(), angles.sin()]))


def test_spread_of_orthogonal_and_of_equal_embeddings() -> None:
    network = model(embedding_norm="none", scale_embedding=False)
    with torch.no_grad():
        network.embedding.table.copy_(torch.cat([torch.eye(8), -torch.eye(8), torch.eye(8)[:7], -torch.eye(8)[:7]]))
    apart = embedding_spread(network.embedding, torch.arange(30))
    share = np.array([4] * 7 + [2]) / 30
    assert apart["diag/norm_mean"] == pytest.approx(1)
    assert apart["diag/rank"] == pytest.approx(np.exp(-(share * np.log(share)).sum()))
    with torch.no_grad():
        network.embedding.table.fill_(0.5)
    together = embedding_spread(network.embedding, torch.arange(30))
    assert together["diag/cosine"] == pytest.approx(1) and together["diag/norm_std"] == pytest.approx(0, abs=1e-6)


def test_the_spread_is_that_of_the_types_asked_for() -> None:
    """What stands in the table besides, such as the types of sources alone, changes nothing."""
    network, types = model(embedding_norm="none"), torch.tensor([1, 2, 5, 7])
    before = embedding_spread(network.embedding, types)
    with torch.no_grad():
        network.embedding.table[8:] = 3.0
    assert embedding_spread(network.embedding, types) == before
    assert before["diag/types"] == 4
    unit = torch.nn.functional.normalize(network.embedding.all_z_0()[types], dim=-1).double()
    pairs = (unit @ unit.T).triu(1).sum() / 6
    assert before["diag/cosine"] == pytest.approx(float(pairs))


def test_nearest_types_agree_with_distances() -> None:
    z, table = torch.randn(20, 5), torch.randn(9, 5)
    assert torch.equal(nearest_types(z, table), torch.cdist(z, table).argmin(1))
