"""DINOISER (Ye et al., TACL 2024; yegcjs/DINOISER, a9c50bd): embedding diffusion whose noise is never small.

Noise that leaves a type recognisable by its nearest embedding teaches nothing, so t is drawn above what hides it
(core/diffusion/noise_clipping.py); the sampler CEDI tells the network times near 1 all along, so that it heeds the
source (core/diffusion/samplers.py). The network is core/diffusion/dinoiser_network.py.

Of the released code: both passes of self-conditioning are trained at every update and their losses added, so all but
the length loss counts twice; the token loss sees the clean embedding alone; each sentence counts equally, whatever its
length; clipped_s draws no noise below 0.707; the choice among candidates is by corpus BLEU of one sentence, which a
text of fewer than four words has none of. Its `ddpm` sampler weighs z_0_hat by the wrong level, its scores are mean
logits: only the replay does so (core/released/dinoiser.py). half-time-embedding-dim is read under a misspelt name, so
it is always 128 (option time_features here); `interpolate` calls a method by a misspelt name and fails, and the
quadratic and linear schedulers cannot be clipped (none of them here). The last x of a decoding is made for nothing, and
clamping a batch of one row alone would lose an axis (here not).

Other than released: the length head learns along with the rest, on the detached encoder, instead of in a second
training; the least t is that of the table as it stands, instead of one update before, so a resumed run has it too;
attention has no dropout of its own.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from core.candidates import Candidates, Choice
from core.diffusion import decoding as denoising
from core.diffusion import noise_times, probes
from core.diffusion.dinoiser_network import SphereDenoiser
from core.diffusion.draws import Draws
from core.diffusion.noise_clipping import least_time, signal_at
from core.diffusion.process import Visited
from core.diffusion.samplers import SAMPLERS, sample, seeded_noise
from core.diffusion.writing import ByNoises
from core.methods.dinoiser_options import Decoding, Options
from core.methods.method import Loss, Method, OnStep, Term
from core.networks.token_loss import token_terms
from core.randomness import generator
from core.scoring.bleu import mbr_choice
from core.sections import DecodingConfig
from core.text.batches import Batch


class Dinoiser(ByNoises, Method[SphereDenoiser]):
    """DINOISER with its options."""

    options: Options
    TOLD = ("selection", "sampler", "decoding_steps", "early_stop")

    def build(self, vocab: int, max_positions: int) -> SphereDenoiser:
        """A new network."""
        return SphereDenoiser(self.options.network, self.options.space, vocab, max_positions)

    # Learning

    def draw(self, network: SphereDenoiser, batch: Batch, seed: int, step: int) -> Draws:
        """t ~ U[min_t, 1] per sentence, min_t by the embeddings as they are, and noise."""
        device, shape = batch.target.device, (*batch.target.shape, network.latent_dim)
        host = generator(torch.device("cpu"), seed, "step", step)
        u = torch.rand(shape[0], generator=host).to(device, non_blocking=True)
        source = host if device.type == "cpu" else generator(device, seed, "eps", step)
        clipping = self.options.clipping
        t = times(u, least_time(network.embedding.output(), clipping.clipping, clipping.least_noise))
        return Draws(t, torch.randn(shape, generator=source, device=device), coin=True)

    def loss(self, network: SphereDenoiser, batch: Batch, draws: Draws) -> Loss:
        """L = sum over both passes of mean over sentences of (mse + nll of the clean embedding), + the length loss."""
        made, length = passes(network, batch, draws), self.options.objective.length_loss_factor
        y, z_0 = batch.target, network.embedding(batch.target).float()
        token = token_nll(network, z_0, y)
        error = torch.stack([(z_0_hat.float() - z_0).square().mean(-1) for z_0_hat in made.z_0_hat]).sum(0)
        mse = Term(by_sentence(error, batch), batch.rows)
        twice = Term(by_sentence(token, batch), batch.rows, float(len(made.z_0_hat)))
        lengths = Term(made.length_loss, batch.rows, length)

        def watched() -> dict[str, Term]:
            nll = Term(by_sentence(token_nll(network, made.z_0_hat[-1].float(), y), batch), batch.rows)
            return {"mse": mse, "token": twice, "nll": nll, "length": lengths}

        return Loss({"mse": mse, "token": twice, "length": lengths}, watched)

    def watch(self, network: SphereDenoiser, types: Tensor) -> dict[str, float]:
        """How far the embeddings of target types stand apart, and the least t that is drawn."""
        clipping = self.options.clipping
        least = least_time(network.embedding.output(), clipping.clipping, clipping.least_noise)
        return {**probes.embedding_spread(network.embedding, types), "diag/least_t": float(least)}

    def held_out(self, network: SphereDenoiser, batches: Iterable[Batch]) -> dict[str, float]:
        """mse and nll of the second prediction per token; the same u and noise at every call."""
        sums = torch.zeros(3, device=network.frequencies.device, dtype=torch.float64)
        for index, batch in enumerate(batches):
            z_0, z_0_hat = self.predicted(network, batch, index)
            nll = token_terms(network, batch.real(z_0_hat), batch.real(batch.target), 0.0)[1]
            mse = batch.real((z_0_hat - z_0).square().mean(-1))
            sums += torch.stack([mse.sum(), nll.sum(), mse.new_tensor(len(mse))]).double()
        mse_sum, nll_sum, count = sums.tolist()
        return {"val/mse": mse_sum / count, "val/nll": nll_sum / count}

    def predicted(self, network: SphereDenoiser, batch: Batch, index: int) -> tuple[Tensor, Tensor]:
        """z_0 and z_0_hat of a held-out batch, each [B, L, d_e]."""
        made = passes(network, batch, self.draw(network, batch, 0, -1 - index))
        return network.embedding(batch.target).float(), made.z_0_hat[-1].float()

    # Writing

    def decode(
        self, network: SphereDenoiser, batch: Batch, decoding: Decoding, seed: int, on_step: OnStep | None = None
    ) -> Candidates:
        """Candidates (lengths x noises) after K - early_stop network calls."""
        memory = network.encode(batch.source, batch.source_mask)
        likely = network.likely_lengths(memory, decoding.length_candidates)
        lengths = likely[:, :, None].expand(-1, -1, decoding.noise_candidates).flatten()
        mask = denoising.length_mask(lengths, int(lengths.max()))
        noise = seeded_noise(generator(mask.device, seed, "decode", *batch.source.shape, int(batch.source[0].sum())))
        steps = visited(decoding)
        z_T = noise(torch.empty(*mask.shape, network.latent_dim, device=mask.device)) * steps.start

        def predict(z_t: Tensor, t: Tensor, *of_part: Any) -> Tensor:
            return clamped(network, network.denoise(z_t, t, *of_part), decoding)

        def read(*, t: float, z_t: Tensor, z_0_hat: Tensor) -> None:
            if on_step is not None:
                on_step(t, denoising.read_out(network, z_0_hat, mask))

        denoise = denoising.in_parts(network, memory, mask, predict, decoding.clamping)
        step = SAMPLERS[decoding.sampler](steps)
        z_0_hat = sample(step, denoise, steps, z_T, noise, decoding.early_stop, read)
        return denoising.read_out(network, z_0_hat, mask)

    def choice(self, decoding: Decoding, bleu_tokenizer: str) -> Choice:
        """By BLEU against the others, within each length and then among lengths; or by the mean log-probability."""
        if decoding.selection == "model":
            return super().choice(decoding, bleu_tokenizer)
        return lambda texts, scores: in_two_stages(texts, decoding.noise_candidates, bleu_tokenizer)

    def with_steps(self, decoding: Decoding, steps: int) -> Decoding | None:
        """K steps, all of them taken."""
        return replace(decoding, decoding_steps=steps, early_stop=0, visited_steps=None)

    def calls(self, decoding: Decoding) -> int:
        """K - early_stop."""
        return decoding.decoding_steps - decoding.early_stop


def times(u: Tensor, least: Tensor) -> Tensor:
    """t = min_t + (1 - min_t) u, [B]."""
    return least + (1.0 - least) * u


@dataclass(frozen=True)
class Passes:
    """What the network made of a batch. z_t and each pass's z_0_hat: [B, L, d_e]; length_loss: [B]."""

    z_t: Tensor
    z_0_hat: list[Tensor]
    length_loss: Tensor


def passes(network: SphereDenoiser, batch: Batch, draws: Draws) -> Passes:
    """Without a last prediction, then with it; no gradient goes from the second pass to the first."""
    memory, z_0 = network.encode(batch.source, batch.source_mask), network.embedding(batch.target)
    t = draws.t[:, None, None]
    z_t = signal_at(t) * z_0 + t * draws.eps
    found = [network.denoise(z_t, draws.t, batch.target_mask, memory)]
    if network.self_conditioning:
        found.append(network.denoise(z_t, draws.t, batch.target_mask, memory, found[0].detach()))
    target = network.length_target(batch.source_mask.sum(1), batch.target_mask.sum(1))
    return Passes(z_t, found, functional.cross_entropy(memory.length_logits.float(), target, reduction="none"))


def by_sentence(values: Tensor, batch: Batch) -> Tensor:
    """Mean of values [B, L] over each sentence's real positions, [B]."""
    return (values * batch.target_mask).sum(1) / batch.target_mask.sum(1)


def token_nll(network: SphereDenoiser, z: Tensor, y: Tensor) -> Tensor:
    """-log p(y | z), [B, L], for z [B, L, d_e] and y [B, L]."""
    return token_terms(network, z.flatten(0, 1), y.flatten(), 0.0)[1].view(y.shape)


def clamped(network: SphereDenoiser, z_0_hat: Tensor, decoding: Decoding) -> Tensor:
    """z_0_hat, or its nearest type: on a sphere that of the highest logit."""
    if not decoding.clamping:
        return z_0_hat
    return network.embedding(network.embedding.logits(z_0_hat).argmax(-1))


def visited(decoding: Decoding) -> Visited:
    """The steps of a decoding."""
    return noise_times.visited(DecodingConfig.of(decoding), decoding.least_level)


def in_two_stages(texts: list[str], noises: int, bleu_tokenizer: str) -> int:
    """Index of the best of those that are the best of their length, by the mean BLEU that each has against others."""
    best = []
    for start in range(0, len(texts), noises):
        best.append(start + closest(texts[start : start + noises], bleu_tokenizer))
    return best[closest([texts[index] for index in best], bleu_tokenizer)]


def closest(texts: list[str], bleu_tokenizer: str) -> int:
    """Index of the text with the highest mean BLEU against the others, each a corpus of one sentence, as released."""
    return mbr_choice(texts, bleu_tokenizer, as_hypothesis=True, effective_order=False)


METHOD = Dinoiser
