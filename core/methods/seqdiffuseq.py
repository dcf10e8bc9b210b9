"""SeqDiffuSeq (Yuan et al., NAACL 2024): Diffusion-LM with self-conditioning and a noise schedule for each position,
which adapts to the loss that was seen there.

Released code: Yuanhy1997/SeqDiffuSeq, 0d42870 (gaussian_diffusion.py, transformer_model.py, inference_main.py). The
network is core/diffusion/seqdiffuseq_network.py, the schedule core/diffusion/position_schedules.py; loss and decoding
are those of Diffusion-LM. Of the released code's surprises:
- the variance of its ancestral sampler is read from a table that was flattened, so it is that of the first steps all
  along (option released_variance, off); sigma_large has betas of the schedule before it adapted (not here).
- padding counts in every mean (option count_padding, off), and the target always has one length.
- a position without loss that rises gets equal levels, whose beta is 0: here that adds no noise, and is no log of 0.
- in the very update in which the schedule changes its x_t has the old one and its tT the new one; here both the old.
  Of several micro-batches each changes it again, by the losses of hardly more than itself; here there is one batch.
- validation batches feed the losses, and a resumed run starts from the first schedule: here neither.
- DROPOUT of its scripts is never passed; text is what is written anywhere, behind </s> too, where ours ends there.
- its decoding reads an option that no parser defines (decoder_attention_mask), so it raises after the first batch; the
  options of generate_by_mix are overwritten by those of training, and the tail of the test set is lost, as an
  incomplete batch is dropped. The encoder is run with all of the decoder, at step 10, for nothing. Here none of these.
"""

from dataclasses import dataclass

from torch import Tensor

from core.checks import check_decoding
from core.diffusion import end_to_end
from core.diffusion.end_to_end import Draws
from core.diffusion.end_to_end_sections import WalkConfig
from core.diffusion.latent_denoiser import LatentDenoiser
from core.diffusion.process import LEAST_NOISE, Visited
from core.diffusion.samplers import ancestral_flattened
from core.diffusion.schedules import alpha_bars, variance_preserving
from core.diffusion.seqdiffuseq_network import PositionDenoiser
from core.diffusion.walks import Plan
from core.methods.diffusion_lm import DiffusionLM
from core.methods.method import Loss, Term
from core.methods.seqdiffuseq_options import Options, Walk
from core.sections import DecodingConfig
from core.text.batches import Batch
from core.text.tokenizer import PAD


class SeqDiffuSeq(DiffusionLM):
    """SeqDiffuSeq with its options."""

    options: Options  # type: ignore[assignment]

    def build(self, vocab: int, max_positions: int) -> PositionDenoiser:
        """A new network."""
        options, process = self.options, self.options.diffusion
        parts = options.network, options.latent, process, vocab, max_positions
        return PositionDenoiser(*parts, options.latent.self_conditioning, process.granularity, process.stride)

    # Learning

    def loss(self, network: LatentDenoiser, batch: Batch, draws: Draws) -> Loss:
        """L = mean over sentences of w (mse + token + tT); each a mean over the sentence's positions, tT over all."""
        layout, made = end_to_end.predict(network, batch, draws, self.absorb_rate)
        how, everywhere = self.options.objective, layout.written
        mask = everywhere if how.count_padding else layout.ids != PAD
        found = end_to_end.terms(network, batch, layout, made, draws.t, mask, how)
        means = {name: end_to_end.sentences(batch, mask, [found[name]]) for name in ("mse", "token")}
        means["tT"] = end_to_end.sentences(batch, everywhere, [batch.pick(end_to_end.tT(network, made), everywhere)])

        def watched() -> dict[str, Term]:
            real, nll = end_to_end.nll_of_prediction(network, batch, layout, made)
            return {"nll": Term(nll, real)} | {name: Term(means[name], batch.rows) for name in ("mse", "token")}

        terms = {name: Term(draws.weight * values, batch.rows) for name, values in means.items()}
        return PositionLoss(terms, watched, end_to_end.squared_errors(made, draws.t).detach())

    def adapt(self, network: LatentDenoiser, batch: Batch, draws: Draws, loss: Loss) -> None:
        """The schedule, by the squared errors where text is."""
        if not self.adapts:
            return
        assert isinstance(network, PositionDenoiser) and isinstance(loss, PositionLoss)
        real = network.layout(batch.source, batch.target).ids != PAD
        if batch.rows is not None:
            real = real & batch.rows[:, None]
        if network.process.see(draws.t, loss.errors, real):
            network.process.adapt()

    @property
    def adapts(self) -> bool:
        """Unless the schedule stays as it is."""
        return self.options.diffusion.stride is not None

    # Writing

    def plan(self, network: LatentDenoiser, decoding: WalkConfig) -> Plan:
        """Steps on the schedule that each position has come to, or on one of the sampler's own for all."""
        assert isinstance(network, PositionDenoiser) and isinstance(decoding, Walk)
        process, own = network.process, decoding.decoding_schedule
        sampling, F = DecodingConfig.of(decoding), max(decoding.decoding_noise_factor, LEAST_NOISE)
        check_decoding(sampling, process.steps)
        learned = process.alpha_bar[:, : network.window].cpu().numpy()
        if self.options.diffusion.variance_preserving:  # the factor of training is in it; the sampler has its own
            learned = variance_preserving(learned, 1.0 / self.options.diffusion.noise_factor)
        abar = learned if own is None else alpha_bars(own, process.steps)
        if decoding.decoding_variance_preserving:
            abar, F = variance_preserving(abar, F), 1.0
        visited = Visited.among(abar, sampling, F, process.alpha_bar.device)
        if not decoding.released_variance:
            return Plan.along(visited, decoding)
        return Plan(visited, ancestral_flattened(visited))


@dataclass(frozen=True)
class PositionLoss(Loss):
    """A loss that keeps the squared error of each position, [B, window]."""

    errors: Tensor


METHOD = SeqDiffuSeq
