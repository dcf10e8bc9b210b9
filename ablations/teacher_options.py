"""What a teacher is told beside the options of a run."""

import dataclasses

IDLE = (
    *("latent_dim", "embedding_norm", "embedding_norm_affine", "frozen_embedding", "scale_embedding"),
    *("share_embedding", "share_projection", "self_conditioning", "self_conditioning_before_projection"),
    *("rescale_timesteps", "length_offset", "embedding_std"),
)
"""Options of the model that mean nothing to a teacher."""


@dataclasses.dataclass(frozen=True)
class Writing:
    """How the teacher writes the new targets."""

    beam: int = 5
    """Prefixes that go on at each place; 1 = greedy (Kim and Rush 2016: 5)."""
    length_penalty: float = 1.0
    """alpha: hypotheses are compared by log p / length^alpha (ours: 1, the mean log-probability)."""
