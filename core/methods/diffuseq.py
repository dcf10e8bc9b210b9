"""DiffuSeq (Gong et al., ICLR 2023): Diffusion-LM over source and target joined, with noise on the target alone; and
the soft absorbing state of DiffuSeq-v2 (Gong et al., EMNLP Findings 2023).

Released code: Shark-NLP/DiffuSeq, main f78945d and branch diffuseq-v2. The network is `OneStack`
(core/diffusion/latent_denoiser.py). Of the released code's surprises:
- every sequence has one length; PAD is no exception in attention or means, and means are over the source too: options
  sequence_length and count_source. By default each sentence has a window of one length behind its own source, means are
  over the window, and so a sentence's text does not depend on its batch.
- training shows the source with the noise of x_0, decoding shows it clean: so here, too.
- the variance of the ancestral sampler is the large one whatever sigma_small says (option variance).
- ddim moves by one step of T while the network is told larger ones (option released_ddim, off).
- v2 starts decoding from noise around 0, not around m (option absorbing_start, on = around m).
- without predict_xstart the loss would compare its output with x_0 all the same, and the random embeddings that the
  loader makes are never learned from: here neither is.
- the released loader sees the references when it cuts test pairs. Here the text to come is unknown, and with
  sequence_length a source is cut only where nothing but BOS would have room.
`--preset as_released --method diffuseq` takes the released recipe; with `--absorbing True` that of v2.
"""

from torch import Tensor

from core.diffusion.end_to_end import Draws
from core.diffusion.latent_denoiser import LatentDenoiser, Layout, OneStack
from core.methods.diffuseq_options import CanvasWalk, Options
from core.methods.diffusion_lm import DiffusionLM
from core.methods.method import Loss, Term
from core.text.batches import Batch


class DiffuSeq(DiffusionLM):
    """DiffuSeq with its options."""

    options: Options  # type: ignore[assignment]

    @property
    def absorb_rate(self) -> float:  # type: ignore[override]
        """Of the soft absorbing state."""
        return self.options.canvas.absorb_rate

    def build(self, vocab: int, max_positions: int) -> LatentDenoiser:
        """A new network."""
        options, canvas = self.options, self.options.canvas
        parts = options.network, options.latent, options.diffusion
        more = canvas.sequence_length, canvas.absorbing, canvas.restart_positions
        return OneStack(*parts, vocab, max_positions, *more)

    def counted(self, layout: Layout) -> Tensor:
        """The window, or all of the canvas."""
        return layout.seen if self.options.canvas.count_source else layout.written

    def loss(self, network: LatentDenoiser, batch: Batch, draws: Draws) -> Loss:
        """As Diffusion-LM's; in v2 the norm of m besides."""
        made = super().loss(network, batch, draws)
        if network.absorbing is None:
            return made
        norm = Term(network.absorbing.norm()[None], weight=self.options.canvas.absorb_weight)
        return Loss({**made.terms, "absorbing": norm}, made.watched)

    def centre(self, network: LatentDenoiser, decoding: CanvasWalk) -> Tensor | float:
        """m, in v2."""
        if network.absorbing is None or not decoding.absorbing_start:
            return 0.0
        return network.absorbing


METHOD = DiffuSeq
