"""Decoding over a canvas: from noise to text in K steps, the source put back at each of them.

The released DiffuSeq takes all T steps with the ancestral sampler, or fewer with DDIM, whose slip is `one_down`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from core.candidates import Candidates
from core.diffusion.end_to_end_sections import ProcessConfig, WalkConfig
from core.diffusion.latent_denoiser import LatentDenoiser, Layout, Memory, filled_memory
from core.diffusion.probes import nearest_types
from core.diffusion.process import Visited
from core.diffusion.samplers import SAMPLERS, Noise, Step, around_posterior, shifted
from core.diffusion.schedules import alpha_bars
from core.networks.kernels import most_likely
from core.networks.replays import ROWS, current, rounded
from core.text.tokenizer import EOS, PAD

OnWalk = Callable[[float, Tensor, Tensor], None]
"""(t, the network's output before clamping, x after the step with the source put back), both [B, J, d_e]."""


@dataclass(frozen=True)
class Plan:
    """The steps of a decoding, least noise first. t: their times; told: what the network is told; start: standard
    deviation of the noise that it starts from; step: from x_k to x_{k-1}; slipping: also after the last call, whose
    prediction is else taken.
    """

    t: tuple[float, ...]
    told: tuple[float, ...]
    start: float
    step: Step
    slipping: bool = False

    @classmethod
    def build(cls, process: ProcessConfig, walk: WalkConfig) -> Self:
        """The plan of a decoding."""
        if walk.released_ddim:
            T = process.diffusion_steps
            return cls(*one_down(process, T // walk.decoding_steps), slipping=True)
        return cls.along(Visited.build(process.gaussian(), walk.sampling()), walk)

    @classmethod
    def along(cls, visited: Visited, walk: WalkConfig) -> Self:
        """The plan of a decoding that visits these steps."""
        large = walk.sampler == "ancestral" and walk.variance == "large"
        sampler = ancestral_large if large else SAMPLERS[walk.sampler]
        return cls(visited.t, visited.told, visited.start, sampler(visited))


def ancestral_large(visited: Visited) -> Step:
    """The posterior's mean with the variance beta_k = noise_k^2 - (signal_k / signal_{k-1})^2 noise_{k-1}^2, the larger
    of the two choices of Ho et al. (2020)."""
    ratio = visited.signal / shifted(visited.signal, 1.0)
    sigma = np.sqrt(visited.noise**2 - ratio**2 * shifted(visited.noise**2, 0.0))
    return around_posterior(visited, sigma)


def one_down(process: ProcessConfig, gap: int) -> tuple[tuple[int, ...], tuple[int, ...], float, Step]:
    """DDIM as released: told t = T-1, T-1-gap, ..., x moves from level t to t-1 alone (and so ends at (T-1) % gap)."""
    T = process.diffusion_steps
    abar = np.append(1.0, alpha_bars(process.schedule, T))  # abar[t + 1] is that of t
    t = tuple(range((T - 1) % gap, T, gap))
    signal, noise = np.sqrt(abar), np.sqrt(1.0 - abar)

    def step(k: int, x_k: Tensor, x_0: Tensor, draw: Noise) -> Tensor:
        at = t[k] + 1
        eps = (x_k - float(signal[at]) * x_0) / float(noise[at])
        return float(signal[at - 1]) * x_0 + float(noise[at - 1]) * eps

    return t, t, 1.0, step


def truncated(noise: Noise, most: float | None) -> Noise:
    """Noise whose entries above a magnitude are drawn again until none is left."""
    if most is None:
        return noise

    def draw(like: Tensor) -> Tensor:
        found = noise(like)
        while bool((far := found.abs() > most).any()):
            found = torch.where(far, noise(like), found)
        return found

    return draw


@dataclass(frozen=True)
class Walker:
    """What a decoding of a batch needs: the network and the canvas that it sees."""

    network: LatentDenoiser
    layout: Layout
    memory: Memory | None

    def walk(self, plan: Plan, walk: WalkConfig, x: Tensor, noise: Noise, on_walk: OnWalk | None = None) -> Tensor:
        """The last x [B, J, d_e] after K - early_stop calls; x: the start, noise everywhere."""
        given, written = self.network.embedding(self.layout.ids), self.layout.written[..., None]
        m = 0.0 if self.network.absorbing is None else self.network.absorbing
        x, noise, out = torch.where(written, x, given), truncated(noise, walk.top_p), None
        denoise = self.denoise()
        for k in range(len(plan.t) - 1, walk.early_stop - 1, -1):
            time = torch.full((1,), plan.told[k], device=x.device, dtype=torch.float32) * self.network.time_scale
            out = denoise(x, time, out).float()
            x_0 = self.clamped(out) if walk.clamping and k >= walk.clamp_step else out
            last = k == walk.early_stop and not plan.slipping
            moved = x_0 if last else plan.step(k, x - m, x_0 - m, noise) + m
            x = torch.where(written, moved, given)
            if on_walk is not None:
                on_walk(plan.t[k], out, x)
        return x

    def denoise(self) -> Callable[[Tensor, Tensor, Tensor | None], Tensor]:
        """The network over this canvas: (x, what is told of t [1], its last output) -> its output."""
        if (replays := current()) is None:
            return lambda x, time, last: self.network.denoise(x, time, self.layout, self.memory, last)
        network, memory, (N, J) = self.network, self.memory, self.layout.ids.shape
        most, beside = network.max_positions, network.beside
        width = J if beside is None else network.width(rounded(J - beside, most=most))
        B = N if memory is None else len(memory[1])
        sentences = rounded(B, ROWS)
        rows = sentences * N // B
        known = self.layout.filled(rows, width), filled_memory(memory, sentences, most)

        def call(known: tuple[Layout, Memory | None], x: Tensor, time: Tensor, last: Tensor | None) -> Tensor:
            layout, memory = known
            return network.denoise(x, time, layout, memory, last)

        return replays.of(call, network, known, (rows, width), (0.0, 0.0, 0.0))

    def clamped(self, out: Tensor) -> Tensor:
        """The embedding of the type nearest to each output."""
        table = self.network.embedding.all_z_0()
        return table[nearest_types(out.flatten(0, 1), table)].view_as(out)

    def read_out(self, x: Tensor) -> Candidates:
        """Most likely tokens where text is written, up to the first EOS or PAD, and their mean log-probability."""
        written, seen = self.layout.written, self.layout.seen
        began = (seen & ~written).sum(1, keepdim=True)
        place = began + torch.arange(int(written.sum(1).max()), device=x.device)
        valid = place < seen.sum(1, keepdim=True)
        picked = x.gather(1, place.clamp(max=x.shape[1] - 1)[..., None].expand(-1, -1, x.shape[2]))
        tokens, log_p = (
            found.view(place.shape)
            for found in most_likely(*self.network.embedding.factors(picked.flatten(0, 1).float()))
        )
        ends = (tokens == EOS) | (tokens == PAD)
        ends[:, 0] = False  # the place of BOS
        mask = valid & (ends.cumsum(1) - ends.long() == 0) & ((tokens != PAD) | (place == began))
        longest = int(mask.sum(1).max())
        tokens = torch.where(mask, tokens, PAD)[:, :longest]
        return Candidates(tokens, mask[:, :longest], (log_p * mask).sum(1) / mask.sum(1))
