"""RDM, reparameterised discrete diffusion (Zheng et al. 2023; HKUNLP/reparam-discrete-diffusion at 26ee286).

Absorbing or multinomial noise over T steps, the weighted cross-entropy of noised tokens, decoding by routing. With
`loss_form` and `routing` at vanilla and without coupling it is the discrete diffusion it started from (Hoogeboom et al.
2021, Austin et al. 2021). What surprises in the released code is an option, off unless said:
- The token loss is multiplied by T, the length loss is not (`times_T`).
- The smoothing is not weighted by 1 - t / T (`smoothing_reweighted`); losses are divided by the padded length
  (`mean_over_padding`).
- Absorbing: BOS, EOS and PAD are masked and learned (`noise_special`), and may be written inside (`predict_special`);
  decoding tells a time one too high (`late_time`).
- The cut between noise and words lets the least certain word be noise to the end (`loose_cut`); it counts as it is in
  float32: in double one more token would always be noise.
- In `cond` routing with rising certainty nothing written is opened again; its score is that of the step that wrote it.
- Multinomial: decoding starts from types of which none comes twice (`distinct_start`). That special types are not
  noised is asserted of a pair, which is always true (here `noise_special` is refused).
- encoder_use_rpe would replace the bias of relative positions by -1e8 wherever it is not 0; it is off (not here).
`--preset as_released --method rdm` takes the recipe of the absorbing form; with `--noise multinomial` the other.
The noise is core/discrete/noise.py, the decoding core/discrete/routing.py.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from core.candidates import Candidates
from core.discrete.decoding import Chance, Reader, special
from core.discrete.noise import BARRED, SPECIAL, Absorbing, Multinomial, NoisedTokens
from core.discrete.probes import PROBE_TIMES, Noised, per_time
from core.discrete.routing import Router, Written
from core.discrete.weighted import NoisyNetwork, Seen, see, token_losses
from core.discrete.writing import Begun, ByLengths
from core.methods.method import Loss, Method, OnStep, ProbeText, Term, curves_of
from core.methods.rdm_options import Options, Routing
from core.randomness import generator
from core.text.batches import Batch
from core.text.shapes import filled


@dataclass(frozen=True)
class Draws:
    """What noises a batch. t [B, K]: K times a sentence, falling. u: uniform numbers, [B, L, K] or, for multinomial
    noise, [B, L, K, V]. padded [B]: the padded length of the batch."""

    t: Tensor
    u: Tensor
    padded: Tensor

    def rows(self, rows: slice) -> Self:
        """Of some sentences."""
        return type(self)(self.t[rows], self.u[rows], self.padded[rows])

    def filled(self, rows: int, length: int) -> Self:
        """Of a batch filled up to a shape."""
        return type(self)(filled(self.t, rows), filled(self.u, rows, length), filled(self.padded, rows))


class RDM(ByLengths, Method[NoisyNetwork]):
    """RDM with its options."""

    options: Options

    def build(self, vocab: int, max_positions: int) -> NoisyNetwork:
        """A new network."""
        process = self.options.process
        T, joined = process.noise_steps, process.joined_positions
        network = NoisyNetwork(self.options.network, self.options.tokens, vocab, max_positions, times=T, joined=joined)
        absorbing = process.noise == "absorbing"
        network.process = Absorbing(T, network.mask_type) if absorbing else Multinomial(T, vocab)
        return network

    # Learning

    def draw(self, network: NoisyNetwork, batch: Batch, seed: int, step: int) -> Draws:
        """Times, and numbers by which tokens become noise."""
        B, L = batch.target.shape
        K, device = 2 if self.options.process.coupled else 1, batch.target.device
        host = generator(torch.device("cpu"), seed, "step", step)
        t = torch.randint(0, network.process.T, (B, K), generator=host).sort(1, descending=True).values
        source = host if device.type == "cpu" else generator(device, seed, "u", step)
        u = torch.rand(network.process.shape(B, L, K), generator=source, device=device)
        return Draws(t.to(device, non_blocking=True), u, torch.full((B,), L, device=device))

    def noised(self, network: NoisyNetwork, target: Tensor, draws: Draws) -> NoisedTokens:
        """Targets [B, L] at K times, [B, K, L]."""
        may = ~special(target)
        if self.options.process.noise_special:
            may = torch.arange(target.shape[1], device=target.device) < draws.padded[:, None]
        return network.process.noised(target, may, draws.t, draws.u)

    def see(self, network: NoisyNetwork, batch: Batch, draws: Draws) -> Seen:
        """Noise a batch and ask the network what it was."""
        return see(network, batch, self.noised(network, batch.target, draws), draws.t)

    def loss(self, network: NoisyNetwork, batch: Batch, draws: Draws) -> Loss:
        """L = mean(token) + length_loss_factor * mean(length), the mean over all target tokens at all K times."""
        objective, seen = self.options.objective, self.see(network, batch, draws)
        losses = token_losses(network, seen, objective) * (network.process.T if objective.times_T else 1)
        each = network.length_losses(seen.memory, batch.target_mask.sum(1))
        length = Term(each, batch.rows, objective.length_loss_factor)
        if objective.mean_over_padding:
            padded = draws.padded.repeat_interleave(draws.t.shape[1]).clamp_min(1)
            token = Term(losses.sum(1) / padded, seen.batch.rows)
        else:
            token = Term(seen.batch.real(losses), seen.batch.counted(seen.batch.target_mask))
        places = seen.noised.places.flatten(0, 1)
        nll = Term(seen.batch.pick(seen.nll, places), seen.batch.counted(places))
        return Loss({"token": token, "length": length}, lambda: {"token": token, "nll": nll, "length": length})

    def held_out(self, network: NoisyNetwork, batches: Iterable[Batch]) -> dict[str, float]:
        """nll per noised token; the same times and noise at every call."""
        total = count = 0.0
        for index, batch in enumerate(batches):
            seen = self.see(network, batch, self.draw(network, batch, 0, -1 - index))
            total, count = total + float(seen.nll.sum()), count + float(seen.noised.places.sum())
        return {"val/nll": total / max(count, 1.0)}

    # Writing

    def most_steps(self) -> int:
        """T."""
        return self.options.process.noise_steps

    def reader(self, network: NoisyNetwork, decoding: Routing, chance: Chance) -> Reader:
        """Absorbing: no masks, and no special types unless they may be written. Multinomial: BARRED special types."""
        if isinstance(network.process, Multinomial):
            return Reader(network, SPECIAL, BARRED, decoding.temperature, chance)
        masks = [network.mask_type] if network.mask_type < network.vocab else []
        barred = masks + ([] if decoding.predict_special else SPECIAL)
        return Reader(network, barred, temperature=decoding.temperature, chance=chance)

    def decode(
        self, network: NoisyNetwork, batch: Batch, decoding: Routing, seed: int, on_step: OnStep | None = None
    ) -> Candidates:
        """Candidates, one a length."""
        begun = Begun.of(network, batch, decoding, seed)

        def look(done: Written) -> None:
            if on_step is not None:
                now = torch.where(done.noise, done.found, done.tokens)
                on_step(done.t, self.written(now, begun.lengths, done.log_p, decoding))

        reader = self.reader(network, decoding, begun.chance)
        router = Router(network.process, begun.predict, reader, decoding, begun.chance)
        tokens, log_p = router.write(begun.lengths, look)
        return self.written(tokens, begun.lengths, log_p, decoding)

    # Diagnostics

    def probes(self, network: NoisyNetwork, text: ProbeText) -> dict[str, Any]:
        """Accuracy and nll of noised tokens at each t; BLEU along a decoding."""
        T = network.process.T
        times = sorted({round(index * (T - 1) / (PROBE_TIMES - 1)) for index in range(PROBE_TIMES)})

        def noised(batch: Batch, t: float, source: torch.Generator) -> Noised:
            B, L = batch.target.shape
            u = torch.rand(network.process.shape(B, L, 1), generator=source, device=batch.target.device)
            at = torch.full((B, 1), int(t), device=u.device)
            made = network.process.noised(batch.target, ~special(batch.target), at, u)
            return Noised(made.tokens[:, 0], made.places[:, 0], at[:, 0])

        along = text.bleu_by_step(self.alone(self.options.decoding))
        return curves_of(text, times, per_time(network, text.batches, times, noised, text.seed), along)


METHOD = RDM
