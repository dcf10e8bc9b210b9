"""Diffusion-LM (Li et al., NeurIPS 2022), conditional form: embeddings are learned end to end with the diffusion, and
predictions are clamped to the nearest embedding as it decodes.

Released code: XiangLi1999/Diffusion-LM, 759889d (gaussian_diffusion.py, transformer_model2.py). The loss is
core/diffusion/end_to_end.py, the network core/diffusion/latent_denoiser.py, decoding core/diffusion/walks.py.

No length is predicted: the target stands in a window of a fixed length, behind it PAD, which is predicted like any
token. Of the released code's surprises:
- decoder_nll scores the noised true embedding, not the prediction (token_loss=rounding): it learns to tell embeddings
  apart, and nothing of the source.
- means are over all positions, PAD included. Here they cannot be over anything else, since the length is read off PAD.
`--preset as_released` takes the recipe for E2E: latent_dim 16 and 200,000 updates.
Nothing is detached: the table gets gradient through x_0, x_t, what is predicted, and the output layer.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from core.candidates import Candidates
from core.diffusion import end_to_end, probes
from core.diffusion.end_to_end import Draws, training_draws
from core.diffusion.end_to_end_sections import WalkConfig
from core.diffusion.latent_denoiser import ConditionalDenoiser, LatentDenoiser, Layout
from core.diffusion.samplers import seeded_noise
from core.diffusion.walks import Plan, Walker
from core.diffusion.writing import ByNoises
from core.methods.diffusion_lm_options import Options
from core.methods.method import Loss, Method, OnStep, ProbeText, Term
from core.randomness import generator
from core.text.batches import Batch, Encoded


class DiffusionLM(ByNoises, Method[LatentDenoiser]):
    """Diffusion-LM with its options."""

    options: Options
    TOLD = ("selection", "sampler", "decoding_steps", "early_stop", "clamping")
    absorb_rate = 0.0

    def build(self, vocab: int, max_positions: int) -> LatentDenoiser:
        """A new network."""
        options = self.options
        return ConditionalDenoiser(options.network, options.latent, options.diffusion, vocab, max_positions)

    # Learning

    def measure(self, network: LatentDenoiser, train: Encoded) -> None:
        """The window: the longest target."""
        network.measure(train)

    def draw(self, network: LatentDenoiser, batch: Batch, seed: int, step: int) -> Draws:
        """t, the noise of x_0 and that of x_t."""
        return training_draws(network, batch, seed, step, self.options.diffusion.time_sampler)

    def counted(self, layout: Layout) -> Tensor:
        """The positions that means are over, [B, J]."""
        return layout.written

    def loss(self, network: LatentDenoiser, batch: Batch, draws: Draws) -> Loss:
        """L = mean(w mse) + mean(w token) + mean(w tT), with the importance weight w of each sentence's t."""
        layout, made = end_to_end.predict(network, batch, draws, self.absorb_rate)
        mask = self.counted(layout)
        found = end_to_end.terms(network, batch, layout, made, draws.t, mask, self.options.objective)
        counted, w = batch.counted(mask), batch.pick(draws.weight[:, None].expand(mask.shape), mask)

        def watched() -> dict[str, Term]:
            real, nll = end_to_end.nll_of_prediction(network, batch, layout, made)
            return {"nll": Term(nll, real)} | {name: Term(found[name], counted) for name in ("mse", "token")}

        return Loss({name: Term(w * values, counted) for name, values in found.items()}, watched)

    def adapt(self, network: LatentDenoiser, batch: Batch, draws: Draws, loss: Loss) -> None:
        """The losses by which t is drawn: those of the sentences, without their importance weights."""
        if network.moments is None:
            return
        mask = self.counted(network.layout(batch.source, batch.target))
        values = [loss.terms[name].values for name in ("mse", "token", "tT")]
        found = end_to_end.sentences(batch, mask, values) / draws.weight
        network.moments.update(draws.t, found, batch.rows)

    @property
    def adapts(self) -> bool:
        """Where t is drawn by the loss."""
        return self.options.diffusion.time_sampler == "lossaware"

    def watch(self, network: LatentDenoiser, types: Tensor) -> dict[str, float]:
        """How far the embeddings of target types stand apart."""
        return probes.embedding_spread(network.embedding, types)

    def held_out(self, network: LatentDenoiser, batches: Iterable[Batch]) -> dict[str, float]:
        """mse and nll of the prediction per target token, PAD not counted; the same t and noise at every call."""
        total = torch.zeros(5, dtype=torch.float64)
        for index, batch in enumerate(batches):
            draws = training_draws(network, batch, 0, -1 - index, "uniform", adaptive=False)
            total += end_to_end.sums(network, batch, replace(draws, coin=False), self.absorb_rate).cpu()
        mse, nll, *_, count = total.tolist()
        return {"val/mse": mse / count, "val/nll": nll / count}

    # Writing

    @property
    def validation(self) -> WalkConfig:
        """The method's own default, with one candidate."""
        usual: WalkConfig = type(self.options)().decoding
        return replace(usual, decoding_steps=min(usual.decoding_steps, self.options.diffusion.diffusion_steps))

    def decode(
        self, network: LatentDenoiser, batch: Batch, decoding: WalkConfig, seed: int, on_step: OnStep | None = None
    ) -> Candidates:
        """Candidates, each from noise of its own, after K - early_stop network calls."""
        key = *batch.source.shape, int(batch.source[0].sum())
        noise = seeded_noise(generator(batch.source.device, seed, "decode", *key))
        with torch.no_grad():
            layout = network.layout(batch.source.repeat_interleave(decoding.noise_candidates, 0), None)
            walker = Walker(network, layout, network.read(batch.source))
            like = network.embedding.table.new_empty(*layout.ids.shape, network.latent_dim)
            plan = self.plan(network, decoding)
            start = plan.visited.start * noise(like) + self.centre(network, decoding)

            def look(*, t: float, z_t: Tensor, z_0_hat: Tensor) -> None:
                if on_step is not None:
                    on_step(t, walker.read_out(z_0_hat))

            return walker.read_out(walker.walk(plan, decoding, start, noise, look))

    def plan(self, network: LatentDenoiser, decoding: WalkConfig) -> Plan:
        """The steps of a decoding."""
        return Plan.build(self.options.diffusion, decoding)

    def centre(self, network: LatentDenoiser, decoding: Any) -> Tensor | float:
        """What the noise that decoding starts from lies around."""
        return 0.0

    def with_steps(self, decoding: WalkConfig, steps: int) -> WalkConfig | None:
        """K steps, all of them taken; None for more than T."""
        if steps > self.options.diffusion.diffusion_steps:
            return None
        return replace(decoding, decoding_steps=steps, early_stop=0, visited_steps=None)

    def calls(self, decoding: WalkConfig) -> int:
        """K - early_stop."""
        return Plan.build(self.options.diffusion, decoding).calls - decoding.early_stop

    # Diagnostics

    def probes(self, network: LatentDenoiser, text: ProbeText) -> dict[str, Any]:
        """Norms of all types, curves over t, and BLEU of what the text is at each t of a decoding."""
        space, times = network.embedding, probes.probe_times(network.process.steps)
        along = text.bleu_by_step(self.alone(self.options.decoding))
        with torch.no_grad():
            norms = {"norm": space.all_z_0(), "norm_raw": space.table}
            return {
                "types": text.types,
                "frequency": text.frequency,
                "source_frequency": text.source_frequency,
                **{name: table.norm(dim=-1).cpu().numpy() for name, table in norms.items()},
                "t": times,
                **end_to_end.per_step(network, text.batches, times, text.seed, self.absorb_rate),
                "along_t": list(along),
                "along_bleu": list(along.values()),
            }


METHOD = DiffusionLM
