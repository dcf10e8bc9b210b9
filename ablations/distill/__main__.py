"""Make a distilled corpus: train a teacher, and let it write the training targets anew.

    python -m ablations.distill --data path/to/multi30k --src de --tgt en --out path/to/multi30k-distilled

Sequence-level knowledge distillation (Kim and Rush 2016): models that write all tokens at once learn a teacher's
translations more easily than people's, which differ more from sentence to sentence. The new folder holds train, valid
and test like the old one; only the training targets differ. Its corpus.json says where they come from, and every run on
it repeats that. Stopped and started again by the same command, it goes on. The teacher is an autoregressive
Transformer, or whatever --method says.
"""

import dataclasses
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import tyro

from ablations import command_line, records
from core import methods, run_folder, signals
from core.checks import check, check_threads
from core.config import RunConfig
from core.display import shown
from core.errors import UserError, command, outlive_output
from core.sections import DataConfig
from core.sizes import check_memory
from core.text import corpus
from core.text.origin import FILE
from core.watching import stage

TEACHER = "autoregressive"


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of a distillation: those of the teacher as for a run, and where to."""

    run: RunConfig
    preset: Annotated[str, tyro.conf.arg(help="Where the teacher's options start (ablations/presets.py).")]
    method: Annotated[str, tyro.conf.arg(help=f"The teacher's method: {', '.join(methods.names())}.")] = TEACHER
    out: Path | None = None
    """Folder for the new corpus, and in it `teacher`."""
    device: str = "auto"
    """auto (the GPU if there is one), cpu, cuda, cuda:N."""
    threads: int = 1
    """CPU threads."""


def parse(arguments: list[str]) -> Options:
    """The options of a command line; a wrong one ends the program naming the nearest."""
    preset, method, config = command_line.start(arguments, TEACHER)
    return command_line.read(
        Options,
        prog="python -m ablations.distill",
        description=__doc__,
        default=Options(config, preset.name, method),
        args=arguments,
        config=(tyro.conf.FlagConversionOff, tyro.conf.OmitArgPrefixes),
    )


def check_options(options: Options) -> Path:
    """The folder of the new corpus. Raises UserError on options that no distillation can have."""
    from core.text.materials import device_for  # brings in torch, which takes seconds: not for --help

    if options.out is None:
        raise UserError("option out: name the folder for the new corpus, --out FOLDER (make: OUT=)")
    data = options.run.data
    check(options.run)
    check_memory(options.run)
    device_for(options.device)
    check_threads(options.threads)
    if not data.data and (data.src, data.tgt) != (DataConfig.src, DataConfig.tgt):
        raise UserError("options src and tgt: name the folder of text too, --data (make: DATA=)")
    out = options.out.expanduser()
    if data.data and out.resolve() == Path(data.data).expanduser().resolve():
        raise UserError(f"option out: {out} is the folder of the text itself; choose another")
    return out


def claim(out: Path, plan: dict[str, Any]) -> Path:
    """The teacher's folder in `out`, with the plan noted; UserError if `out` is for something else."""
    folder, note = out / "teacher", out / "teacher" / "plan.json"
    if note.exists():
        there = run_folder.read(note)
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
    run_folder.write_json(note, plan)
    return folder


def distill(options: Options) -> Path:
    """Do what is missing; returns the new folder."""
    from ablations.distill import teacher  # these bring in torch
    from ablations.distill.corpus import write_corpus
    from core.config import flat
    from core.evaluator import Evaluator
    from core.machine import configure
    from core.text.materials import device_for, prepare

    out, config = check_options(options), options.run
    configure(options.threads)
    stage("preparing the text")
    digest = corpus.digest(config.data)
    evaluator = Evaluator(prepare(config.data), config, device_for(options.device))
    plan = {"corpus_digest": digest} | {name: value for name, value in flat(config).items() if name != "data"}
    if config.method.name == TEACHER:  # not said by the first ones
        del plan["method"]
    folder = claim(out, plan)
    with records.exclusive(folder / "lock"):
        if (out / FILE).exists():
            print(f"{out}: distilled already")
            return out
        network = teacher.train_teacher(evaluator, folder)
        splits = {"valid": evaluator.materials.valid, "test": evaluator.materials.test}
        scored = {name: teacher.translations(evaluator, network, split, name) for name, split in splits.items()}
        targets = teacher.write_targets(evaluator, network, folder / "written.jsonl")
        write_corpus(out, evaluator, teacher.teacher_hash(config, digest), scored, targets)
    return out


@command
def main() -> int:
    """Distill; ends with what was made and how to use it."""
    signals.end_on_sigterm()
    outlive_output()
    options = parse(sys.argv[1:])
    with shown():
        out = distill(options)
    made = run_folder.read(out / FILE)
    teacher, targets = made["teacher"], made["targets"]
    print(
        f"{out}: {targets['written']:,} targets by teacher {teacher['hash']} (test BLEU {teacher['bleu']:.2f}, "
        f"validation {teacher['valid_bleu']:.2f}); BLEU {targets['bleu']:.2f} against the old ones, "
        f"{targets['identical']:,} the same, {targets['empty']:,} empty\n"
        f"train on it:  make sweep DATA={shlex.quote(str(out))} SRC={options.run.data.src} TGT={options.run.data.tgt}"
    )
    return 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
