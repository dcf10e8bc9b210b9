"""Decoding over a canvas: from noise to text in K steps, the source put back at each of them.

The released DiffuSeq takes all T steps with the ancestral sampler, or fewer with DDIM, whose slip is `one_down`
(core/diffusion/samplers.py).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Self

import numpy as np
import torch
from torch import Tensor

from core.candidates import Candidates
from core.diffusion.decoding import time
from core.diffusion.end_to_end_sections import ProcessConfig, WalkConfig
from core.diffusion.latent_denoiser import LatentDenoiser, Layout, Memory, filled_memory
from core.diffusion.probes import nearest_types
from core.diffusion.process import Visited
from core.diffusion.samplers import (
    SAMPLERS,
    Denoise,
    Noise,
    OnCall,
    Step,
    ancestral_large,
    one_down,
    predicted,
    sample,
    silent,
)
from core.diffusion.schedules import alpha_bars
from core.networks.kernels import most_likely
from core.networks.replays import ROWS, current, rounded
from core.sections import DecodingConfig
from core.text.tokenizer import EOS, PAD


@dataclass(frozen=True)
class Plan:
    """The steps of a decoding, and the sampler's. slipping: its step also follows the last call, whose prediction is
    else taken."""

    visited: Visited
    step: Step
    slipping: bool = False

    @classmethod
    def build(cls, process: ProcessConfig, walk: WalkConfig) -> Self:
        """The plan of a decoding."""
        if walk.released_ddim:
            visited = one_below(process, process.diffusion_steps // walk.decoding_steps)
            return cls(visited, one_down(visited), slipping=True)
        return cls.along(Visited.build(process.gaussian(), DecodingConfig.of(walk)), walk)

    @classmethod
    def along(cls, visited: Visited, walk: WalkConfig) -> Self:
        """The plan of a decoding that visits these steps."""
        large = walk.sampler == "ancestral" and walk.variance == "large"
        return cls(visited, (ancestral_large if large else SAMPLERS[walk.sampler])(visited))

    @property
    def calls(self) -> int:
        """K."""
        return len(self.visited.t)


def one_below(process: ProcessConfig, gap: int) -> Visited:
    """The steps of DDIM as released: told t = T-1, T-1-gap, ..., each at the level of t-1."""
    T = process.diffusion_steps
    abar = np.append(1.0, alpha_bars(process.schedule, T))  # abar[t + 1] is that of t
    t = tuple(range((T - 1) % gap, T, gap))
    at, (signal, noise) = np.array(t), (np.sqrt(abar), np.sqrt(1.0 - abar))
    return Visited(t, signal[at], noise[at], 1.0, t, signal[at + 1], noise[at + 1])


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

    def walk(self, plan: Plan, walk: WalkConfig, x: Tensor, noise: Noise, on_step: OnCall = silent) -> Tensor:
        """The last x [B, J, d_e] after K - early_stop calls; x: the start, noise everywhere. on_step is given the
        network's outputs before clamping."""
        given, written = self.network.embedding(self.layout.ids), self.layout.written[..., None]
        m = 0.0 if self.network.absorbing is None else self.network.absorbing

        def around_m(k: int, x: Tensor, x_0: Tensor, noise: Noise) -> Tensor:
            return plan.step(k, x - m, x_0 - m, noise) + m

        def put_back(step: Step, k: int, x: Tensor, out: Tensor, noise: Noise) -> Tensor:
            x_0 = self.clamped(out) if walk.clamping and k >= walk.clamp_step else out
            return torch.where(written, step(k, x, x_0, noise), given)

        step, end = partial(put_back, around_m), partial(put_back, around_m if plan.slipping else predicted)
        start, draw = torch.where(written, x, given), truncated(noise, walk.top_p)
        return sample(step, self.denoise(), plan.visited, start, draw, walk.early_stop, on_step, end)

    def denoise(self) -> Denoise:
        """The network over this canvas, as the loop calls it."""
        network = self.told()
        return lambda x, t, last: network(x, time(t, x) * self.network.time_scale, last).float()

    def told(self) -> Callable[[Tensor, Tensor, Tensor | None], Tensor]:
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
