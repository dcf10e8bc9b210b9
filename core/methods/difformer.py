"""Difformer (Gao et al., NAACL 2024): embedding diffusion with anchor loss, embedding norm and noise factor.

The network, which holds the noise process, is core/diffusion/denoiser.py; the anchor loss is a level of TOKEN_LOSSES
(core/diffusion/objectives.py), the norm stands in core/networks/embedding.py, the noise factor F in
core/diffusion/process.py.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from core.candidates import Candidates
from core.diffusion import decoding as denoising
from core.diffusion import probes
from core.diffusion.denoiser import Denoiser
from core.diffusion.draws import Draws, training_draws
from core.diffusion.objectives import errors, predict, terms
from core.diffusion.process import ForwardProcess, Visited
from core.diffusion.samplers import OnCall
from core.diffusion.time_samplers import TIME_SAMPLERS
from core.diffusion.writing import ByNoises
from core.methods.difformer_options import Options
from core.methods.method import Loss, Method, OnStep, ProbeText, Term
from core.sections import DecodingConfig
from core.text.batches import Batch


class Difformer(ByNoises, Method[Denoiser]):
    """Difformer with its options."""

    options: Options
    TOLD = ("selection", "decoding_steps", "early_stop")

    def build(self, vocab: int, max_positions: int) -> Denoiser:
        """A new network."""
        options = self.options
        process = ForwardProcess.build(options.diffusion)
        return Denoiser(options.network, options.latent, process, vocab, max_positions)

    # Learning

    def draw(self, network: Denoiser, batch: Batch, seed: int, step: int) -> Draws:
        """t, noise and the self-conditioning coin."""
        shape = (*batch.target.shape, self.options.latent.latent_dim)
        device, sampler = batch.target.device, TIME_SAMPLERS[self.options.diffusion.time_sampler]
        return training_draws(seed, step, shape, network.process.steps, device, sampler)

    def loss(self, network: Denoiser, batch: Batch, draws: Draws) -> Loss:
        """L = mean(mse) + mean(token) + length_loss_factor * mean(length)."""
        config = self.options.objective
        prediction, real = predict(network, batch, draws), batch.counted(batch.target_mask)
        made = terms(network, prediction, batch, config)
        mse, token = Term(made.mse, real), Term(made.token, real)
        length = Term(made.length, batch.rows, config.length_loss_factor)

        def watched() -> dict[str, Term]:
            nll = Term(errors(network, prediction, batch)[1], real)
            return {"mse": mse, "token": token, "nll": nll, "length": length}

        return Loss({"mse": mse, "token": token, "length": length}, watched)

    def watch(self, network: Denoiser, types: Tensor) -> dict[str, float]:
        """How far the embeddings that are diffused stand apart."""
        return probes.embedding_spread(network.embedding, types)

    def held_out(self, network: Denoiser, batches: Iterable[Batch]) -> dict[str, float]:
        """mse and nll per token; the same t and noise at every call."""
        device = network.process.signal.device
        sums = torch.zeros(3, device=device, dtype=torch.float64)
        for index, batch in enumerate(batches):
            draws = self.draw(network, batch, 0, -1 - index)
            mse, nll = errors(network, predict(network, batch, replace(draws, coin=False)), batch)
            sums += torch.stack([mse.sum(), nll.sum(), torch.tensor(len(nll), device=device)]).double()
        mse_sum, nll_sum, count = sums.tolist()
        return {"val/mse": mse_sum / count, "val/nll": nll_sum / count}

    # Writing

    @property
    def validation(self) -> DecodingConfig:
        """The released decoding."""
        steps = min(DecodingConfig.decoding_steps, self.options.diffusion.diffusion_steps)
        return DecodingConfig(decoding_steps=steps, early_stop=steps // 4)

    def decode(
        self, network: Denoiser, batch: Batch, decoding: DecodingConfig, seed: int, on_step: OnStep | None = None
    ) -> Candidates:
        """Candidates (lengths x noises) after K - early_stop network calls."""
        visited = Visited.build(self.options.diffusion, decoding)

        def with_mask(mask: Tensor) -> OnCall:
            def read(*, t: float, z_t: Tensor, z_0_hat: Tensor) -> None:
                assert on_step is not None
                on_step(t, denoising.read_out(network, z_0_hat, mask))

            return read

        return denoising.candidates(network, visited, batch, decoding, seed, with_mask if on_step else None)

    def with_steps(self, decoding: DecodingConfig, steps: int) -> DecodingConfig | None:
        """K steps, of which a quarter is left out, as in the released 5 of 20; None for more than T."""
        if steps > self.options.diffusion.diffusion_steps:
            return None
        return replace(decoding, decoding_steps=steps, early_stop=steps // 4, visited_steps=None)

    def calls(self, decoding: DecodingConfig) -> int:
        """K - early_stop."""
        return decoding.decoding_steps - decoding.early_stop

    # Diagnostics

    def probes(self, network: Denoiser, text: ProbeText) -> dict[str, Any]:
        """Norms of all types, curves over t, and BLEU of one-shot predictions beside those along a generation."""
        options, space = self.options, network.embedding
        times = probes.probe_times(network.process.steps)
        without = ForwardProcess.build(replace(options.diffusion, noise_factor=1.0)).to(space.table.device)
        with torch.no_grad():
            norm = space.all_z_0().norm(dim=-1).cpu().numpy()
            norm_raw = (space.scale * space.table).norm(dim=-1).cpu().numpy()
        decoding, T = self.alone(options.decoding), network.process.steps
        one_shot = [text.bleu(probes.one_shot(decoding, t, T)) for t in times]
        along = text.bleu_by_step(replace(decoding, early_stop=0))
        return {
            "types": text.types,
            "frequency": text.frequency,
            "source_frequency": text.source_frequency,
            "norm": norm,
            "norm_raw": norm_raw,
            "t": times,
            **probes.per_step(network, text.batches, times, seed=text.seed),
            "nearest_F1": probes.nearest_recovery(network, without, text.batches, times, seed=text.seed),
            "fig5_t": [float(t) for t in times],
            "oneshot_bleu": one_shot,
            "along_t": list(along),
            "along_bleu": list(along.values()),
        }


METHOD = Difformer
