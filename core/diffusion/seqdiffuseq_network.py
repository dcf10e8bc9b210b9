"""The network of SeqDiffuSeq (Yuan et al. 2024): an encoder-decoder over one embedding table, self-conditioned, whose
noise has a schedule for each position."""

import torch
from torch import Tensor, nn

from core.diffusion.end_to_end_sections import ProcessConfig, SpaceConfig
from core.diffusion.latent_denoiser import Layout, Memory, WindowDenoiser
from core.diffusion.position_schedules import PositionProcess
from core.diffusion.schedules import alpha_bars
from core.networks.transformer import feed_forward
from core.sections import NetworkConfig
from core.text.batches import Encoded
from core.text.tokenizer import PAD


class PositionDenoiser(WindowDenoiser):
    """Predicts x_0 from x_t, t, the source and its own last prediction. Padding is attended to in the target."""

    process: PositionProcess  # type: ignore[assignment]

    def __init__(
        self,
        network: NetworkConfig,
        space: SpaceConfig,
        process: ProcessConfig,
        vocab: int,
        max_positions: int,
        self_conditioning: bool,
        granularity: int,
        stride: int | None,
    ) -> None:
        super().__init__(network, space, process, vocab, max_positions)
        d, d_e = network.model_dim, space.latent_dim
        F, vp = process.noise_factor, process.variance_preserving
        abar = alpha_bars(process.schedule, process.diffusion_steps, F if vp else 1.0)
        self.process = PositionProcess(abar, max_positions, 1.0 if vp else F, granularity, stride)
        self.process.window = self.window
        self.self_conditioning, self.time_dim = self_conditioning, d
        self.embedding.still = PAD
        nn.init.zeros_(self.embedding.table[PAD])
        self.up = feed_forward(2 * d_e if self_conditioning else d_e, d, d, "tanh")
        self.down, self.source_up = feed_forward(d, d, d_e, "tanh"), feed_forward(d_e, d, d, "tanh")
        self.time = feed_forward(d, d, d, "silu")
        self.build(network, max_positions)
        self.source_norm, self.target_norm = nn.LayerNorm(d), nn.LayerNorm(d)
        self.start(network.initialization)

    @property
    def start_std(self) -> Tensor:
        """sqrt(1 - abar_0) of each position, [window, 1]."""
        return (1.0 - self.process.alpha_bar[0, : self.window, None]).sqrt().float()

    def measure(self, train: Encoded) -> None:
        """The window, which the process has too."""
        super().measure(train)
        self.process.window = self.window

    def set_extra_state(self, state: Tensor) -> None:
        """The same, from a checkpoint."""
        super().set_extra_state(state)
        self.process.window = self.window

    def encoded(self, source: Tensor) -> Tensor:
        """The encoder's output [B, S, d], at padding too."""
        x = self.source_up(self.embedding.source(source))
        x = self.source_norm(x + self.encoder_positions(x.shape[1]))
        return self.through_encoder(x, (source != PAD)[:, None, None, :])

    def read(self, source: Tensor) -> Memory:
        """The encoder's keys and values."""
        return self.keys_values(self.encoded(source)), (source != PAD)[:, None, None, :]

    def denoise(
        self, x_t: Tensor, time: Tensor, layout: Layout, memory: Memory | None, last: Tensor | None = None
    ) -> Tensor:
        """The prediction of x_0; C candidates of each source of the memory, adjacent."""
        assert memory is not None
        if self.self_conditioning:
            x_t = torch.cat([x_t, torch.zeros_like(x_t) if last is None else last.to(x_t.dtype)], -1)
        x = self.dropout(self.entered(x_t, time, 0.0))
        x = self.target_norm(x + self.decoder_positions(x.shape[1]))
        return self.down(self.run_decoder(x, layout.seen[:, None, None, :], *memory))
