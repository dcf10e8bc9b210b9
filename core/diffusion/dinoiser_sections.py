"""The options of DINOISER's embedding space."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SphereConfig:
    """The embedding space, and how the denoiser works in it."""

    latent_dim: int = 64
    """Dimension d_e of the embedding space (released: 16 on IWSLT14, 64 on WMT)."""
    embedding_std: float | None = 0.001
    """Start of the embedding table, whose rows are normed whatever it is (released: 0.001); none = 1 / sqrt(d_e)."""
    self_conditioning: bool = True
    """Feed the previous prediction of z_0 back in; each update then makes both passes (released: yes)."""
    time_features: int = 128
    """Frequencies at which the network is told t, drawn with the weights and not learned (released: 128)."""
    time_width: int = 512
    """Inner width of what they go through (released: 512, whatever model_dim is)."""
