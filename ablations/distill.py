"""Make a distilled corpus: train an autoregressive teacher, and let it write the training targets anew.

    python -m ablations.distill --data path/to/multi30k --src de --tgt en --out path/to/multi30k-distilled

Sequence-level knowledge distillation (Kim and Rush 2016): models that write all tokens at once learn a teacher's
translations more easily than people's, which differ more from sentence to sentence. The new folder holds train, valid
and test like the old one; only the training targets differ. Its corpus.json says where they come from, and every run on
it repeats that. Stopped and started again by the same command, it goes on. Options of the latent space, listed below as
for every model, are refused: a teacher has none.
"""

import dataclasses
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import tyro

from ablations import command_line, presets, records
from ablations.run import given_pairs, given_preset
from ablations.teacher_options import IDLE, Writing
from core import corpus, signals
from core.checks import check
from core.config import DataConfig, ModelConfig, RunConfig, TrainingConfig, check_choice
from core.errors import UserError, command
from core.lineage import FILE


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of a distillation: those of the teacher as for a run, where to, and how it writes."""

    data: DataConfig
    model: ModelConfig
    training: TrainingConfig
    writing: Writing
    preset: Annotated[str, tyro.conf.arg(help="Where the teacher's options start (ablations/presets.py).")]
    out: Path | None = None
    """Folder for the new corpus, and in it `teacher`."""
    label_smoothing: float = 0.1
    """Label smoothing of the teacher's loss (Vaswani et al. 2017: 0.1)."""
    seed: int = 1
    """Seed of the teacher's weights and batches."""
    device: str = "auto"
    """auto (the GPU if there is one), cpu, cuda, cuda:N."""
    threads: int = 1
    """CPU threads."""

    def config(self) -> RunConfig:
        """The teacher's options as those of a run."""
        whole = presets.get(self.preset).config
        objective = dataclasses.replace(whole.objective, label_smoothing=self.label_smoothing)
        return RunConfig(
            self.data, self.model, whole.diffusion, objective, self.training, whole.decoding, seed=self.seed
        )


def parse(arguments: list[str]) -> Options:
    """The options of a command line; a wrong one ends the program naming the nearest."""
    given = dict(given_pairs(arguments))
    preset = presets.get(given_preset(arguments))
    config = preset.config
    for name, value in given.items():
        if name in IDLE:
            raise UserError(f"option {name}: belongs to the latent space, which a teacher does not have")
        check_choice(name, value)
    return command_line.read(
        Options,
        prog="python -m ablations.distill",
        description=__doc__,
        default=Options(config.data, config.model, config.training, Writing(), preset.name),
        args=arguments,
        config=(tyro.conf.FlagConversionOff, tyro.conf.OmitArgPrefixes),
    )


def checked(options: Options) -> Path:
    """The folder of the new corpus. Raises UserError on options that no distillation can have."""
    from ablations.materials import device_for  # brings in torch, which takes seconds: not for --help

    if options.out is None:
        raise UserError("option out: name the folder for the new corpus, --out FOLDER (make: OUT=)")
    config = options.config()
    check(config)
    device_for(options.device)
    for name, value in (("beam", options.writing.beam), ("threads", options.threads)):
        if value < 1:
            raise UserError(f"option {name}: {value} must be at least 1")
    if not 0 <= options.writing.length_penalty < float("inf"):
        raise UserError(f"option length_penalty: {options.writing.length_penalty} must not be negative")
    if not config.data.data and (config.data.src, config.data.tgt) != (DataConfig.src, DataConfig.tgt):
        raise UserError("options src and tgt: name the folder of text too, --data (make: DATA=)")
    out = options.out.expanduser()
    if config.data.data and out.resolve() == Path(config.data.data).expanduser().resolve():
        raise UserError(f"option out: {out} is the folder of the text itself; choose another")
    return out


def claimed(out: Path, plan: dict[str, Any]) -> Path:
    """The teacher's folder in `out`, with the plan noted; UserError if `out` is for something else."""
    folder, note = out / "teacher", out / "teacher" / "plan.json"
    if note.exists():
        there = records.read_json(note)
        other = [name for name in plan if there.get(name) != plan[name]]
        if other:
            values = "; ".join(f"{name} {there.get(name)} there, {plan[name]} here" for name in other[:3])
            raise UserError(f"{out} is the distillation of other text or options ({values}); choose another --out")
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"option out: {out} exists and is no unfinished distillation; choose a new or an empty folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"option out: {out} cannot be made ({error.strerror})") from error
    records.write_json(note, plan)
    return folder


def distill(options: Options) -> Path:
    """Do what is missing; returns the new folder."""
    from ablations import teaching  # these bring in torch
    from ablations.distilled import write_corpus
    from ablations.materials import device_for, prepare
    from core.machine import settle

    out, config, writing = checked(options), options.config(), options.writing
    settle(options.threads)
    device, digest = device_for(options.device), corpus.digest(config.data)
    materials = prepare(config.data)
    teacher = teaching.teacher_hash(config, digest)
    plan = {"corpus_digest": digest, **teaching.options_of(config), **dataclasses.asdict(writing)}
    plan.pop("data")
    folder = claimed(out, plan)
    with records.exclusive(folder / "lock"):
        if (out / FILE).exists():
            print(f"{out}: distilled already")
            return out
        model = teaching.trained(config, materials, folder, device, say)
        scored = {
            name: teaching.translations(model, split, materials, writing, device)
            for name, split in (("valid", materials.valid), ("test", materials.test))
        }
        length, rows = config.data.max_length, folder / "written.jsonl"
        targets = teaching.write_targets(model, materials, length, writing, rows, device, say)
        write_corpus(out, config, materials, teacher, scored, targets, writing)
    return out


def say(line: str) -> None:
    """Tell the user how far it is."""
    print(line, flush=True)


@command
def main() -> int:
    """Distill; ends with what was made and how to use it."""
    signals.end_on_sigterm()
    options = parse(sys.argv[1:])
    out = distill(options)
    made = records.read_json(out / FILE)
    teacher, targets = made["teacher"], made["targets"]
    print(
        f"{out}: {targets['written']:,} targets by teacher {teacher['hash']} (test BLEU {teacher['bleu']:.2f}, "
        f"validation {teacher['valid_bleu']:.2f}); BLEU {targets['bleu']:.2f} against the old ones, "
        f"{targets['identical']:,} the same, {targets['empty']:,} empty\n"
        f"train on it:  make sweep DATA={shlex.quote(str(out))} SRC={options.data.src} TGT={options.data.tgt}"
    )
    return 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
