"""The hand-written operations against torch's own."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.diffusion.denoiser import Denoiser
from core.diffusion.process import ForwardProcess
from core.networks import kernels
from core.networks.kernels import (
    FEW,
    NARROW,
    Dropout,
    Linear,
    attention,
    log_normaliser,
    most_likely,
    product,
    random_int16,
    wide_vectors,
)
from core.networks.token_loss import token_terms
from core.networks.transformer import CrossAttention
from core.sections import DiffusionConfig, LatentConfig, NetworkConfig


@given(rows=st.integers(1, 5), types=st.integers(2, 9), scale=st.floats(0.1, 50))
def test_log_normaliser_and_its_gradients(rows: int, types: int, scale: float) -> None:
    z = torch.randn(rows, 3, dtype=torch.float32, requires_grad=True)
    table = (torch.randn(types, 3) * scale).requires_grad_()
    weight = torch.rand(rows)
    ours = log_normaliser(z, table)
    found = torch.autograd.grad(ours @ weight, (z, table))
    theirs = (z @ table.T).logsumexp(-1)
    expected = torch.autograd.grad(theirs @ weight, (z, table))
    torch.testing.assert_close(ours, theirs)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@given(
    rows=st.integers(1, 3),
    queries=st.integers(1, 20),
    keys=st.integers(1, 40),
    masked=st.sampled_from(["no", "keys", "each"]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_attention_and_its_gradients(rows: int, queries: int, keys: int, masked: str, dtype: torch.dtype) -> None:
    q, k, v = (torch.randn(rows, 2, n, 8).to(dtype).requires_grad_() for n in (queries, keys, keys))
    mask = None
    if masked != "no":
        mask = torch.rand(rows, 1, queries if masked == "each" else 1, keys) > 0.4
        mask[..., 0] = True
    weight = torch.randn(rows, 2, queries, 8)
    ours = attention(q, k, v, mask)
    found = torch.autograd.grad((ours.float() * weight).sum(), (q, k, v))
    wide = [part.detach().float().requires_grad_() for part in (q, k, v)]
    theirs = torch.nn.functional.scaled_dot_product_attention(wide[0], wide[1], wide[2], attn_mask=mask)
    expected = torch.autograd.grad((theirs * weight).sum(), wide)
    rtol, atol = (1e-4, 1e-5) if dtype == torch.float32 else (0.05, 0.06)
    for one, other in zip((ours, *found), (theirs, *expected), strict=True):
        torch.testing.assert_close(one.float(), other, rtol=rtol, atol=atol)


@pytest.mark.parametrize("rows", [0, 1, 512, 1100])
def test_the_most_likely_type_and_its_log_probability(rows: int) -> None:
    z, table = torch.randn(rows, 6), torch.randn(40, 6)
    tokens, log_p = most_likely(z, table)
    expected, where = (z @ table.T).log_softmax(-1).max(-1)
    assert tokens.equal(where)
    torch.testing.assert_close(log_p, expected)


def test_token_terms_are_label_smoothed_cross_entropy() -> None:
    process = ForwardProcess.build(DiffusionConfig(diffusion_steps=100))
    model = Denoiser(NetworkConfig(model_dim=16, ffn_dim=16), LatentConfig(latent_dim=8), process, 30, 16)
    z, y = torch.randn(7, 8) * 5, torch.randint(0, 30, (7,))
    smoothed, nll = token_terms(model, z, y, 0.1)
    logits = model.embedding.logits(z)
    cross_entropy = torch.nn.functional.cross_entropy
    torch.testing.assert_close(nll, cross_entropy(logits, y, reduction="none"))
    torch.testing.assert_close(smoothed, cross_entropy(logits, y, reduction="none", label_smoothing=0.1))


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5])
def test_dropout_keeps_the_share_and_the_mean(p: float) -> None:
    drop = Dropout(p)
    x = torch.ones(400_001)
    y = drop(x)
    assert float((y == 0).float().mean()) == pytest.approx(p, abs=4e-3)
    assert float(y.max()) == pytest.approx(1 / (1 - p))
    assert float(y.mean()) == pytest.approx(1.0, abs=6e-3)
    assert drop.eval()(x) is x


def test_random_bits_are_uniform_and_seeded() -> None:
    torch.manual_seed(3)
    first = random_int16(100_000)
    torch.manual_seed(3)
    assert torch.equal(first, random_int16(100_000))
    counts = torch.histc(first.float(), bins=16, min=-32768, max=32768)
    assert float((counts / 6250 - 1).abs().max()) < 0.06
    assert all(abs(float(first[i::4].float().mean())) < 800 for i in range(4))


def test_candidates_share_keys_and_values() -> None:
    cross = CrossAttention(16, 4)
    encoded, mask = torch.randn(3, 5, 16), torch.rand(3, 1, 1, 5) > 0.3
    mask[..., 0] = True
    x = torch.randn(6, 4, 16)
    shared = cross(x, cross.memory(encoded), mask)
    copied = cross(x, cross.memory(encoded.repeat_interleave(2, 0)), mask.repeat_interleave(2, 0))
    torch.testing.assert_close(shared, copied)


@given(sentences=st.integers(1, 3), keys=st.integers(1, 20), candidates=st.integers(1, 3), length=st.integers(1, 9))
def test_a_folded_memory_is_looked_at_as_the_memory_itself(
    sentences: int, keys: int, candidates: int, length: int
) -> None:
    cross = CrossAttention(16, 4)
    torch.nn.init.normal_(cross.q.bias)
    encoded, mask = torch.randn(sentences, keys, 16), torch.rand(sentences, 1, 1, keys) > 0.3
    mask[..., 0] = True
    x, memory = torch.randn(sentences * candidates, length, 16), cross.memory(encoded)
    torch.testing.assert_close(cross(x, cross.fold(memory, mask), mask), cross(x, memory, mask), rtol=1e-4, atol=1e-5)


@given(rows=st.integers(0, 2 * FEW), inside=st.integers(1, 40), out=st.integers(1, 40), biased=st.booleans())
def test_the_product_is_that_of_torch(rows: int, inside: int, out: int, biased: bool) -> None:
    x, weight = torch.randn(2, rows, inside).transpose(0, 1), torch.randn(out, inside)
    bias = torch.randn(out) if biased else None
    with torch.no_grad():
        found = product(x, weight, bias)
    torch.testing.assert_close(found, torch.nn.functional.linear(x, weight, bias), rtol=1e-5, atol=1e-5)


def torchs_own_is_called(monkeypatch: pytest.MonkeyPatch, layer: Linear, x: torch.Tensor) -> bool:
    """Whether a layer takes torch's own product for an input."""
    called = []

    def linear(*args: torch.Tensor) -> torch.Tensor:
        called.append(args)
        return own(*args)

    own = torch.nn.functional.linear
    with monkeypatch.context() as patched:
        patched.setattr(torch.nn.functional, "linear", linear)
        layer(x)
    return bool(called)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch is built without oneDNN")
def test_the_wide_product_is_taken_in_decoding_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "wide_vectors", lambda: True)
    layer, x = Linear(8, 4).eval(), torch.randn(FEW, 8)
    assert torchs_own_is_called(monkeypatch, layer, x), "gradients are asked for"
    with torch.no_grad():
        assert not torchs_own_is_called(monkeypatch, layer, x)
        assert torchs_own_is_called(monkeypatch, layer, x[:-1]), "few rows"
        assert torchs_own_is_called(monkeypatch, Linear(NARROW, NARROW).eval(), torch.randn(FEW, NARROW)), "wide"
        assert torchs_own_is_called(monkeypatch, layer.train(), x), "trainings have the bits they had"
        with torch.autocast("cpu", torch.bfloat16):
            assert torchs_own_is_called(monkeypatch, layer.eval(), x)
        monkeypatch.setattr(kernels, "wide_vectors", lambda: False)
        assert torchs_own_is_called(monkeypatch, layer, x), "another processor"


def test_vectors_are_wide_where_torch_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for there, capability, wide in ((True, "AVX512", True), (True, "AVX2", False), (False, "AVX512", False)):
        wide_vectors.cache_clear()
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda there=there: there)
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda capability=capability: capability)
        assert wide_vectors() is wide
    wide_vectors.cache_clear()
