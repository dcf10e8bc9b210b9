"""Sizes and data recipes, each with what it is for, what it costs, what it should score, and the command."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from ablations.studies import Arm, Study
from core import methods
from core.config import RunConfig, all_options, with_values
from core.errors import UserError
from core.options import nearest

INSTEAD = "Preset as_released has each method's own recipe."


@dataclass(frozen=True)
class Preset:
    """A named set of options, and the number of seeds a sweep runs it with.

    tuning: how the options were chosen. as_released: a method has its own released recipe in their place.
    """

    name: str
    purpose: str
    expected: str
    command: str
    seeds: int
    values: Mapping[str, Any]
    tuning: str = "none"
    as_released: bool = False

    @property
    def config(self) -> RunConfig:
        """The options of a run of this preset, by the default method."""
        return self.config_for(methods.DEFAULT)

    def config_for(self, method: str, chosen: Mapping[str, Any] | None = None) -> RunConfig:
        """The options of a run by any method: the preset's, as far as the method has them, or its released recipe.

        chosen: options that hold whatever it says; they may choose another released form, with a recipe of its own.
        Raises UserError where the preset has for an option what the method cannot."""
        if self.as_released:
            return with_values(RunConfig(), {"method": method, **methods.released(method, chosen)})
        try:
            return with_values(with_values(RunConfig(), self.values), {"method": method})
        except UserError as error:
            raise UserError(f"preset {self.name} does not go with method {method}: {error} {INSTEAD}") from error

    def values_for(self, method: str) -> dict[str, Any]:
        """The same as values by name: those that the preset, or the released recipe, sets and the method reads."""
        named, found = methods.released(method) if self.as_released else self.values, self.config_for(method)
        return {name: value for name, value in all_options(found).items() if name in named}

    def shared(self, method: str) -> RunConfig:
        """What all arms of a sweep start from, whose control is of this method: no recipe, if each has its own."""
        return with_values(RunConfig(), {"method": method}) if self.as_released else self.config_for(method)

    def applied(self, study: Study) -> Study:
        """The study as a sweep with this preset runs it."""
        return (
            AsReleased(**{each.name: getattr(study, each.name) for each in fields(Study)})
            if self.as_released
            else study
        )


@dataclass(frozen=True)
class AsReleased(Study):
    """A study each of whose arms has the released recipe of its method, but for the options that are given."""

    def as_run(self, arm: Arm) -> Arm:
        """The arm with the options of its recipe."""
        return replace(arm, values=self.recipe(arm) | dict(super().as_run(arm).values))

    def recipe(self, arm: Arm) -> dict[str, Any]:
        """What the released recipe of an arm's method, in the form that it has, sets."""
        chosen = {**self.given, **arm.values}
        found = methods.released(str(chosen.get("method", methods.DEFAULT)), chosen)
        return {name: value for name, value in found.items() if name not in self.given}


SMOKE = {
    "model_dim": 32,
    "latent_dim": 16,
    "ffn_dim": 64,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "updates": 12,
    "batch_tokens": 256,
    "warmup": 4,
    "lr": 2e-3,
    "log_every": 4,
    "valid_every": 6,
    "valid_sentences": 8,
    "corpus_pairs": 300,
    "corpus_heldout": 16,
    "corpus_lexicon": 60,
    "vocab_size": 320,
    "initialization": "xavier",
    "embedding_std": None,
}
TINY = {
    "model_dim": 96,
    "latent_dim": 32,
    "ffn_dim": 384,
    "dropout": 0.0,
    "updates": 700,
    "batch_tokens": 512,
    "lr": 4e-3,
    "warmup": 100,
    "valid_every": 140,
    "keep_best": 1,
    "initialization": "xavier",
    "embedding_std": None,
    "embedding_norm_affine": False,
    "corpus_lexicon": 150,
}
SMALL = {
    "model_dim": 128,
    "latent_dim": 64,
    "ffn_dim": 512,
    "vocab_size": 4000,
    "updates": 3000,
    "batch_tokens": 512,
    "lr": 2e-3,
    "warmup": 300,
    "valid_every": 500,
    "keep_best": 1,
    "log_every": 50,
    "initialization": "xavier",
    "embedding_std": None,
    "embedding_norm_affine": False,
}
GPU = {
    "model_dim": 512,
    "latent_dim": 128,
    "ffn_dim": 1024,
    "encoder_layers": 4,
    "decoder_layers": 4,
    "dropout": 0.3,
    "batch_tokens": 8192,
    "updates": 4000,
    "warmup": 500,
    "lr": 1e-3,
    "valid_every": 500,
    "valid_sentences": 200,
    "keep_best": 2,
    "log_every": 50,
    "initialization": "xavier",
    "embedding_std": None,
    "embedding_norm_affine": False,
}

CALIBRATED = (
    "none per arm; learning rate, batch, updates and start of the embeddings were chosen by a handful of runs of the "
    "full model alone, before any arm was compared, and are the same for all arms"
)

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            "smoke",
            "does it run at all: tests, and a first look at your own corpus",
            "seconds a run; scores mean nothing, so there is no verdict",
            "make sweep PRESET=smoke",
            seeds=2,
            values=SMOKE,
        ),
        Preset(
            "tiny",
            "the embedded corpus on a laptop: the default of make sweep",
            "full model: BLEU 70 or more; 24 runs in some 6 minutes on two cores",
            "make sweep",
            seeds=3,
            values=TINY,
            tuning=CALIBRATED,
        ),
        Preset(
            "small",
            "real text on two cores",
            "full model: BLEU 12 on Multi30k; 16 runs (SEEDS=2) in 52 minutes on two cores, so 24 in some 80",
            "make sweep DATA=path/to/multi30k SRC=de TGT=en",
            seeds=3,
            values=SMALL,
            tuning=CALIBRATED,
        ),
        Preset(
            "gpu",
            "Multi30k at full width on one GPU",
            "full model: BLEU 29 after 2,500 of its 4,000 updates; 8 runs of 2,500 at once in 6.5 minutes on an H200",
            "make sweep DATA=path/to/multi30k SRC=de TGT=en PRESET=gpu SEEDS=3",
            seeds=3,
            values=GPU,
        ),
        Preset(
            "iwslt14",
            "the released recipe for IWSLT14 De-En, without its reranker; distilled targets: make distill first",
            "paper: 32.1 raw, 32.2 with distillation and one candidate; not run here. A run on an H200, computed from "
            "the tokens a second measured there: 10 hours as it is written, 1.6 with graphs",
            "make sweep DATA=path/to/iwslt14 SRC=de TGT=en PRESET=iwslt14 SEEDS=3",
            seeds=3,
            values=methods.released(methods.DEFAULT),
        ),
        Preset(
            "as_released",
            "each method by its own released recipe (AS_RELEASED in core/methods), as far as there are options for it",
            "the numbers published for each, beside which its docstring says what differs; not run here",
            "make sweep STUDY=systems PRESET=as_released DATA=path/to/iwslt14 SRC=de TGT=en",
            seeds=3,
            values=methods.released(methods.DEFAULT),
            as_released=True,
        ),
    )
}


def get(name: str) -> Preset:
    """The preset of that name. Raises UserError naming the nearest."""
    if name not in PRESETS:
        raise UserError(f"unknown preset {name!r}.{nearest(name, PRESETS)}")
    return PRESETS[name]


def default_for(data: str | None) -> str:
    """The preset that a sweep takes when none is named: tiny for the embedded corpus, small for a folder."""
    return "tiny" if data is None else "small"
