"""The options of a run by section, each documented in place, with where its default comes from.

A method picks the sections that it reads, and adds its own (core/methods/). Field names are unique across all sections,
so a run is also one flat mapping name -> value, which is what the command line, W&B and run.json show. "Released" below
means the scripts of the released implementation (IWSLT14 De-En unless said otherwise). "Embedded corpus": the
artificial text that comes with the suite.

An option that comes later than a run that may have been made already is a field made by `added`.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, Self

from core.errors import UserError
from core.options import added

Schedule = Literal["linear", "cosine", "sqrt", "edm", "cdcd"]
Activation = Literal["relu", "gelu", "silu"]
Placement = Literal["none", "latent", "decoder_input"]
BleuTokenizer = Literal[
    "auto", "none", "zh", "13a", "intl", "char", "ja-mecab", "ko-mecab", "spm", "flores101", "flores200", "spBLEU-1K"
]


@dataclass(frozen=True)
class DataConfig:
    """The text: the embedded corpus, or a folder of {train,valid,test}.{src,tgt}[.gz] or {train,valid,test}.jsonl."""

    data: str | None = None
    """Folder of parallel text; none = the embedded corpus."""
    src: str = "de"
    """Suffix of the source files in the folder (Multi30k and IWSLT14: de), or the key of the sources in files of JSON
    lines."""
    tgt: str = "en"
    """Suffix of the target files in the folder, or the key of the targets in files of JSON lines."""
    undo_bpe: bool = added(False)
    """Join words that the text has cut into pieces (`ha@@ us`, `\u2581ha us`, `ha ##us`) in reading it; off = such
    targets are refused (ours)."""
    vocab_size: int = 8000
    """Types of the joint BPE (released: 10,000 merges); the embedded corpus is split into words instead."""
    max_length: int = 128
    """Longest sentence in tokens, BOS and EOS included; longer pairs, of any split, are dropped and counted (ours)."""
    train_limit: int = 0
    """Use only the first N training pairs; 0 = all (ours)."""
    corpus_variant: Literal["translate", "compress"] = "translate"
    """Embedded corpus: whole sentences, or modifiers dropped (stands for summarization)."""
    corpus_pairs: int = 20000
    """Embedded corpus: training pairs (ours)."""
    corpus_heldout: int = 400
    """Embedded corpus: pairs of the validation set, and of the test set (ours)."""
    corpus_lexicon: int = 400
    """Embedded corpus: content words per language (ours)."""
    corpus_zipf: float = 1.0
    """Embedded corpus: Zipf exponent of word frequency; natural text is near 1."""
    corpus_ambiguity: float = 0.15
    """Embedded corpus: share of target words that have a synonym, chosen once per sentence (ours)."""
    corpus_seed: int = 1
    """Embedded corpus: seed of the languages and of the sentences; not the run's seed."""


@dataclass(frozen=True)
class NetworkConfig:
    """The Transformer: encoder and decoder."""

    model_dim: int = 128
    """Width d of the Transformer (released: 512)."""
    encoder_layers: int = 2
    """Encoder layers (released: 6)."""
    decoder_layers: int = 2
    """Decoder layers (released: 6)."""
    ffn_dim: int = 512
    """Inner width of the feed-forward blocks (released: 1024)."""
    heads: int = 4
    """Attention heads (released: 4)."""
    dropout: float = 0.1
    """Dropout (released: 0.3 on IWSLT14, 0.1 elsewhere)."""
    activation: Activation = "relu"
    """Non-linearity of every feed-forward block (released: relu)."""
    pre_norm: bool = False
    """Layer norm before each block instead of after it (released: after)."""
    learned_positions: bool = True
    """Learned position tables; off = sinusoids (released: learned)."""
    decoder_ffn_dim: int | None = None
    """The decoder's own ffn_dim; none = as in the encoder (released)."""
    decoder_heads: int | None = None
    """The decoder's own heads; none = as in the encoder (released)."""
    decoder_pre_norm: bool | None = None
    """The decoder's own pre_norm; none = as in the encoder (the released switch is one per side)."""
    decoder_learned_positions: bool | None = None
    """The decoder's own learned_positions; none = as in the encoder (the released switch is one per side)."""
    initialization: Literal["bert", "xavier"] = "bert"
    """Start of the linear layers: N(0, 0.02) as in BERT (released decoder), or Xavier-uniform (learns faster when
    narrow)."""

    def decoder(self) -> "NetworkConfig":
        """The configuration as the decoder's layers see it: its own choices in place of the encoder's."""
        names = ("ffn_dim", "heads", "pre_norm", "learned_positions")
        own = {name: getattr(self, f"decoder_{name}") for name in names}
        return dataclasses.replace(self, **{name: value for name, value in own.items() if value is not None})

    def check(self) -> None:
        """Raises UserError unless the heads divide the width."""
        for name in ("heads", "decoder_heads"):
            heads = getattr(self, name)
            if heads and self.model_dim % heads:
                raise UserError(f"option {name}: {heads} must divide model_dim = {self.model_dim}")


@dataclass(frozen=True)
class LatentConfig:
    """The embedding space, and how the denoiser works in it."""

    latent_dim: int = 64
    """Dimension d_e of the embedding space (released: 128); equal to model_dim = no projections."""
    embedding_norm: Placement = "latent"
    """Where the embedding layer norm stands: on z_0 (the paper's prose) or on the decoder's input (released)."""
    embedding_norm_affine: bool = True
    """Learned gain and bias in the embedding layer norm (released: yes)."""
    frozen_embedding: bool = False
    """Keep the embedding table at its random start (a control of the token_loss study)."""
    scale_embedding: bool = True
    """Multiply embeddings by sqrt(d_e) (released: yes)."""
    share_embedding: bool = True
    """One table for source, target and output layer (released: yes)."""
    share_projection: bool = False
    """Encoder and decoder share the projection W_in (released: no)."""
    self_conditioning: bool = True
    """Feed the previous prediction of z_0 back in (released: yes)."""
    self_conditioning_before_projection: bool = False
    """Join z_t and the previous z_0_hat in latent space, before W_in (released: after)."""
    rescale_timesteps: bool = True
    """Tell the network t * 1000 / T instead of the integer t (released: yes)."""
    length_offset: bool = True
    """Predict the target length as an offset from the source length (released: yes)."""
    embedding_std: float | None = 0.02
    """Start of the embedding tables: 0.02 as in BERT (released scripts); none = 1 / sqrt(d_e), so that z_0 starts at
    unit variance (the released code without its BERT switch)."""


@dataclass(frozen=True)
class DiffusionConfig:
    """The forward process in training."""

    diffusion_steps: int = 2000
    """T (released: 2000)."""
    schedule: Schedule = "sqrt"
    """Noise schedule alpha_bar(u) (released: sqrt)."""
    noise_factor: float = 4.0
    """F: the noise is N(0, F^2 I) (released: 4; 1 = off)."""
    variance_preserving: bool = False
    """Reach the same signal-to-noise ratio by the schedule, at unit total variance (released: no)."""
    time_sampler: Literal["uniform", "stratified"] = added("uniform")
    """How t is drawn in training: each by itself (released), or one from each of B equal parts of 0..T-1."""


@dataclass(frozen=True)
class ObjectiveConfig:
    """L = L_mse + L_token + length_loss_factor * L_length."""

    token_loss: Literal["anchor", "rounding", "none"] = "anchor"
    """-log p(y|z_0_hat) (anchor, the paper's), -log p(y|z_0) (rounding), or neither."""
    label_smoothing: float = 0.1
    """Label smoothing of the token loss (released: 0.1)."""
    length_loss_factor: float = 0.1
    """Weight of the length loss (released: 0.1)."""


PAIR_TOKENS = 26
"""What a sentence of a released batch counts in `batch_tokens`: the mean over IWSLT14 De-En with 10,000 types of the
longer side of a pair (25.9 in 14,924 pairs), whatever length the released batches are padded to."""


@dataclass(frozen=True)
class TrainingConfig:
    """The optimisation."""

    updates: int = 700
    """Optimizer steps (released: 300,000)."""
    training_seconds: float | None = added(None)
    """End training after so many seconds of updates, validation aside, in place of `updates` (ours): for comparisons by
    equal time. What is trained then depends on the machine."""
    batch_tokens: int = 1024
    """Tokens of the longer side in a batch, padding included (released: 8,192 target tokens)."""
    lr: float = 5e-4
    """Peak learning rate (released: 5e-4)."""
    warmup: int = 10000
    """Linear warm-up steps, then as lr_schedule says (released: 10,000)."""
    lr_schedule: Literal["inverse_sqrt", "linear", "constant"] = added("inverse_sqrt")
    """After the warm-up: lr * sqrt(warmup / step) (released), linear to 0 after `updates` (also where training_seconds
    ends it), or lr."""
    ema: float | None = added(None)
    """Decay of an exponential moving average of the weights, which validation, checkpoints and decoding use; none = off
    (released). The start keeps the weight ema^updates: 0.9999 is for 50,000 updates and more."""
    warmup_init_lr: float = 1e-7
    """Learning rate at step 0 (released: 1e-7)."""
    beta1: float = 0.9
    """Adam beta_1 (released: 0.9)."""
    beta2: float = 0.98
    """Adam beta_2 (released: 0.98)."""
    weight_decay: float = 0.01
    """Decoupled weight decay (released: 0.01)."""
    clip_norm: float = 1.0
    """Largest gradient norm (released: 1)."""
    log_every: int = 20
    """Updates between rows of metrics.jsonl (ours)."""
    valid_every: int = 200
    """Updates between validations (ours)."""
    valid_sentences: int = 100
    """Sentences of the validation set that are decoded for the validation score (ours; keeps it cheap)."""
    keep_best: int = 5
    """Checkpoints that are kept by validation score and averaged at the end (released: 5)."""
    averaging: Literal["if_better", "mean", "best"] = added("if_better", as_before="mean")
    """The model at the end: the mean of the kept checkpoints where it is validated to be at least as good as the best
    one, the mean whatever it is worth (released), or the best one."""
    metric: str = added("bleu")
    """The score that chooses checkpoints, set by the study: bleu, chrf, rouge1, rouge2, rougeL, or one of your own in
    core/scores.py; higher is better."""
    bleu_tokenizer: BleuTokenizer = added("auto", as_before="13a")
    """sacreBLEU's tokenizer for every BLEU, that of BLEU-MBR too (released: 13a); auto = by the script that most
    words of the training targets are of."""
    checkpoint_seconds: float = 60.0
    """Wall-clock seconds between resumable checkpoints (ours)."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of training: bfloat16 autocast; auto = on a GPU that has it, and on a CPU that has it for models at least 256
    wide (released: 16 bit)."""
    decoding_precision: Literal["auto", "float32", "bfloat16"] = added("auto")
    """The same of decoding, validation included (released: 16 bit)."""


@dataclass(frozen=True)
class DecodingConfig:
    """The sampler of a Gaussian diffusion, the candidates and the choice among them."""

    sampler: Literal["ancestral", "ddim", "dpm_solver", "cedi"] = added("ancestral")
    """From z_t to z_s (core/diffusion/samplers.py): drawn from the posterior (released), DDIM, DPM-Solver++(2M), or
    CEDI."""
    eta: float = added(0.0)
    """DDIM: share of ancestral sampling's new noise, from 0 (none) to 1 (ancestral sampling)."""
    cedi_end: float = added(0.99)
    """CEDI: the network is told times from T down towards this share of it (DINOISER: 0.99)."""
    spacing: Literal["uniform", "log_snr", "quadratic"] = added("uniform")
    """Where the K steps lie: evenly in t (released), evenly in log-SNR, or by squares."""
    visited_steps: str | None = added(None)
    """The K steps themselves, from 0 to T-1 and rising, with commas between; none = as spacing says."""
    decoding_steps: int = 20
    """K (released: 20)."""
    early_stop: int = 5
    """Leave out the last steps of the K, those with the least noise (released: 5, so 15 network calls)."""
    decoding_noise_factor: float = 1.0
    """F of the sampler (released: 1)."""
    decoding_schedule: Schedule | None = None
    """Noise schedule of the sampler; none = as in training (released)."""
    decoding_variance_preserving: bool = False
    """The sampler's own variance-preserving form (released: no)."""
    clamping: bool = False
    """Replace z_0_hat by the embedding of its nearest token at each step (released: no)."""
    fixed_t: float | None = None
    """Always tell the network t = value * T (released: none)."""
    length_candidates: int = 1
    """Lengths tried around the predicted one (released: 7)."""
    noise_candidates: int = 1
    """Noises tried per length (released: 3)."""
    selection: Literal["mbr", "model"] = "mbr"
    """Choice among candidates: mean sentence BLEU against the others, or the model's mean log-probability."""

    @classmethod
    def of(cls, section: Any) -> Self:
        """The options of another section that have these names."""
        names = [field.name for field in dataclasses.fields(cls) if hasattr(section, field.name)]
        return cls(**{name: getattr(section, name) for name in names})
