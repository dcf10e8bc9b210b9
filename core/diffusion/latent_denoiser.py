"""Networks that predict x_0 over a canvas of fixed length: Diffusion-LM's, beside a source encoder, and DiffuSeq's, one
stack over source and target.

Neither predicts a length: what is written has `window` positions, and ends where it says EOS or PAD.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.diffusion.denoiser import timestep_embedding
from core.diffusion.end_to_end_sections import ProcessConfig, SpaceConfig
from core.diffusion.process import ForwardProcess
from core.diffusion.time_samplers import LossSecondMoments
from core.networks.embedding import EmbeddingSpace
from core.networks.kernels import Dropout, Linear
from core.networks.replays import enlarged, rounded
from core.networks.transformer import (
    EncoderDecoder,
    EncoderLayer,
    KeysValues,
    Positions,
    feed_forward,
    filled_keys,
)
from core.sections import NetworkConfig
from core.text.batches import Encoded
from core.text.tokenizer import BOS, EOS, PAD

EPS = 1e-12
"""Of every layer norm, as in BERT."""


@dataclass(frozen=True)
class Layout:
    """The canvas of a batch. ids [B, J]; written [B, J]: where noise is put and text is written; seen [B, J]: what may
    be attended to."""

    ids: Tensor
    written: Tensor
    seen: Tensor

    def filled(self, rows: int, width: int) -> Self:
        """Of so many rows and positions: rows beyond those here are the last of these again."""
        return type(self)(*(enlarged(part, rows, width) for part in (self.ids, self.written, self.seen)))


Memory = tuple[tuple[KeysValues, ...], Tensor]
"""Keys and values of each decoder layer for a source encoder's output, and its mask [B, 1, 1, S]."""


def filled_memory(memory: Memory | None, rows: int, most: int) -> Memory | None:
    """That of so many sentences, of one of few numbers of positions up to `most`."""
    if memory is None:
        return None
    layers, mask = memory
    length = rounded(mask.shape[-1], most=most)
    return filled_keys(layers, rows, length), enlarged(mask, rows, 1, 1, length)


class LatentDenoiser(EncoderDecoder):
    """What both share: embeddings with a biased output layer, projections, time, noise process, and the window."""

    def __init__(
        self, network: NetworkConfig, space: SpaceConfig, process: ProcessConfig, vocab: int, max_positions: int
    ) -> None:
        super().__init__(vocab, max_positions)
        d, d_e = network.model_dim, space.latent_dim
        self.latent_dim, self.asked = d_e, space.target_length
        self.window = min(space.target_length or max_positions, max_positions)
        self.time_dim = space.time_dim or min(d, d_e)
        self.process = ForwardProcess.build(process.gaussian())
        self.time_scale = 1000.0 / self.process.steps if space.rescale_timesteps else 1.0
        self.self_conditioning = False
        self.moments = LossSecondMoments(self.process.steps) if process.time_sampler == "lossaware" else None
        self.absorbing: nn.Parameter | None = None
        self.embedding = EmbeddingSpace(space.latent(), vocab, biased=True)
        nn.init.normal_(self.embedding.table)  # PAD's row too: it is written like any other
        self.up, self.down = _projection(d_e, d, d), _projection(d, d, d_e)
        self.time = feed_forward(self.time_dim, 4 * self.time_dim, d, "silu")
        self.input_norm = nn.LayerNorm(d)

    def begin(self, initialization: str) -> None:
        """How linear layers start, and the eps of the norms; to be called when all parts are made."""
        self.start(initialization)
        for module in self.modules():
            if isinstance(module, nn.LayerNorm):
                module.eps = EPS

    @property
    def start_std(self) -> Tensor | float:
        """Standard deviation of the noise of x_0; or of each position, [J, 1]."""
        return float(self.process.start_std)

    @property
    def beside(self) -> int | None:
        """Positions of the canvas beside those of the source; None where its length is the same for all batches."""
        raise NotImplementedError

    def width(self, source: int) -> int:
        """J for a batch whose longest source has so many tokens, EOS included."""
        raise NotImplementedError

    def layout(self, source: Tensor, target: Tensor | None) -> Layout:
        """The canvas of sources [B, S] and targets [B, L]; of targets that are still to be written: None."""
        raise NotImplementedError

    def read(self, source: Tensor) -> Memory | None:
        """What denoising needs of the sources [B, S] beside the canvas."""
        return None

    def denoise(
        self, x_t: Tensor, time: Tensor, layout: Layout, memory: Memory | None, last: Tensor | None = None
    ) -> Tensor:
        """The prediction of x_0, [B, J, d_e], from x_t and time [B] or [1] (time_scale * t).

        last: the last prediction, for networks that take it (self-conditioning); None stands for zeros.
        """
        raise NotImplementedError

    def entered(self, x_t: Tensor, time: Tensor, positions: Tensor | float) -> Tensor:
        """The input of the first layer, before its dropout."""
        told = self.time(timestep_embedding(time, self.time_dim))[:, None]
        return self.input_norm(self.up(x_t) + positions + told)

    def measure(self, train: Encoded) -> None:
        """The window of a training text: its longest target, unless another one was asked for."""
        if self.asked is None:
            self.window = int(train.target.lengths.max())

    def get_extra_state(self) -> Tensor:
        """The window, for checkpoints."""
        return torch.tensor([self.window])

    def set_extra_state(self, state: Tensor) -> None:
        """The window, from a checkpoint."""
        self.window = int(state[0])


class WindowDenoiser(LatentDenoiser):
    """The canvas is the target, and attends to an encoder."""

    @property
    def beside(self) -> int | None:
        """The canvas is the window."""
        return None

    def width(self, source: int) -> int:
        """The window."""
        return self.window

    def layout(self, source: Tensor, target: Tensor | None) -> Layout:
        """The target, filled with PAD or cut to the window."""
        if target is None:
            target = source.new_full((len(source), self.window), PAD)
        ids = functional.pad(target[:, : self.window], (0, max(0, self.window - target.shape[1])), value=PAD)
        everywhere = torch.ones_like(ids, dtype=torch.bool)
        return Layout(ids, everywhere, everywhere)


class ConditionalDenoiser(WindowDenoiser):
    """Diffusion-LM's conditional form: the encoder has embeddings of its own."""

    def __init__(
        self, network: NetworkConfig, space: SpaceConfig, process: ProcessConfig, vocab: int, max_positions: int
    ) -> None:
        super().__init__(network, space, process, vocab, max_positions)
        self.source_table = nn.Parameter(torch.randn(vocab, network.model_dim))
        self.build(network, max_positions)
        self.begin(network.initialization)

    def read(self, source: Tensor) -> Memory:
        """The encoder's keys and values."""
        mask = (source != PAD)[:, None, None, :]
        return self.keys_values(self.run_encoder(functional.embedding(source, self.source_table), mask)), mask

    def denoise(
        self, x_t: Tensor, time: Tensor, layout: Layout, memory: Memory | None, last: Tensor | None = None
    ) -> Tensor:
        """The prediction of x_0; C candidates of each source of the memory, adjacent."""
        assert memory is not None
        x = self.entered(x_t, time, self.decoder_positions(x_t.shape[1]))
        return self.down(self.run_decoder(x, layout.seen[:, None, None, :], *memory))


class OneStack(LatentDenoiser):
    """DiffuSeq's: the canvas is BOS source EOS EOS BOS target EOS PAD ... PAD, read by one stack of layers.

    length: of the canvas, whatever the sources' lengths; pairs that are longer are cut (DiffuSeq). None: each sentence
    has the window after its source, and nothing looks at what a batch adds behind it. restart: positions of the window
    count from a place of their own.
    """

    def __init__(
        self,
        network: NetworkConfig,
        space: SpaceConfig,
        process: ProcessConfig,
        vocab: int,
        max_positions: int,
        length: int | None = None,
        absorbing: bool = False,
        restart: bool = False,
    ) -> None:
        super().__init__(network, space, process, vocab, max_positions)
        d, d_e = network.model_dim, space.latent_dim
        self.length, self.restart = length, restart
        self.positions = Positions(max(length or 0, 2 * max_positions + 2), d, network.learned_positions)
        count = network.encoder_layers + network.decoder_layers
        self.layers = nn.ModuleList(EncoderLayer(network) for _ in range(count))
        self.last_norm = nn.LayerNorm(d) if network.pre_norm else nn.Identity()
        self.dropout = Dropout(network.dropout)
        self.absorbing = nn.Parameter(torch.randn(d_e) * d_e**-0.5) if absorbing else None
        self.begin(network.initialization)

    @property
    def beside(self) -> int | None:
        """BOS, a second EOS, and the window."""
        return None if self.length is not None else 2 + self.window

    def width(self, source: int) -> int:
        """J: the length, or that of the longest sentence."""
        return self.length if self.length is not None else source + 2 + self.window

    def layout(self, source: Tensor, target: Tensor | None) -> Layout:
        """Source and target joined. A pair that exceeds the length loses tokens of its longer side, of both when equal,
        until it fits; a target that is still to be written takes what its source leaves, at least BOS."""
        if target is None:
            target = source.new_tensor([[BOS, EOS]]).expand(len(source), -1)
        s, b = (source != PAD).sum(1), (target != PAD).sum(1) - 1  # BOS and tokens, without EOS
        if self.length is None:
            b = b.clamp(max=self.window - 1)
        else:
            room = self.length - 3
            s, b = s.minimum((room - b).clamp(min=room // 2)), b.minimum((room - s).clamp(min=room // 2))
        place = torch.arange(self.width(source.shape[1]), device=source.device)[None]
        s, b = s[:, None], b[:, None]
        began = s + 2
        given = functional.pad(source, (1, 0), value=BOS)
        ids = torch.where(place < s, _at(given, place), EOS)
        ids = torch.where((place >= began) & (place < began + b), _at(target, place - began), ids)
        ids = torch.where(place > began + b, PAD, ids)
        seen = place < (place.shape[1] if self.length is not None else began + self.window)
        seen = seen.expand_as(ids)
        return Layout(ids, (place >= began) & seen, seen)

    def placed(self, layout: Layout) -> Tensor:
        """The position vectors of a canvas."""
        J = layout.ids.shape[1]
        if not self.restart:
            return self.positions(J)
        place = torch.arange(J, device=layout.ids.device)
        began = (layout.seen & ~layout.written).sum(1, keepdim=True)
        own = (self.max_positions + 2 + place - began).clamp(max=self.positions.count - 1)
        return self.positions(self.positions.count)[torch.where(layout.written, own, place)]

    def denoise(
        self, x_t: Tensor, time: Tensor, layout: Layout, memory: Memory | None, last: Tensor | None = None
    ) -> Tensor:
        """The prediction of x_0."""
        mask = layout.seen[:, None, None, :]
        x = self.dropout(self.entered(x_t, time, self.placed(layout)))
        for layer in self.layers:
            x = layer(x, mask)
        return self.down(self.last_norm(x))


def _at(rows: Tensor, places: Tensor) -> Tensor:
    """The elements of rows [B, N] at places [B or 1, J]; at places outside, those at the ends."""
    places = places.expand(len(rows), -1).clamp(0, rows.shape[1] - 1)
    return rows.gather(1, places)


def _projection(dim: int, inner: int, out: int) -> nn.Module:
    """Linear, tanh, linear; nothing where both ends agree."""
    if dim == out:
        return nn.Identity()
    return nn.Sequential(Linear(dim, inner), nn.Tanh(), Linear(inner, out))
