"""A study on some text with some options: what all runs of a study's folder share, whoever runs them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from ablations import presets, records
from ablations.presets import Preset
from ablations.provenance import commit
from ablations.studies import Arm, Study
from core import methods
from core.checks import check
from core.config import DataConfig, RunConfig, all_options, belongs_to, flat, with_values
from core.errors import UserError
from core.run_folder import STUDY, read, write_json
from core.scoring.tokenizers import AUTO, Chosen, choose
from core.text import corpus
from sweeps.running import plan
from sweeps.running.plan import Job
from sweeps.running.trials import queue_name

BANNER = "Embedded corpus: a test bench, not natural language"


@lru_cache
def _text(config: DataConfig) -> tuple[str, Chosen]:
    """The digest of the text, and the tokenizer of BLEU that suits it; read once, and what stands out is said."""
    text = corpus.load(config)
    corpus.say(text)
    return corpus.digest(config), choose(AUTO, [target for _, target in text.train])


def corpus_digest(config: DataConfig) -> str:
    """The digest of the text. Raises UserError for whatever is wrong with it."""
    return _text(config)[0]


def scoring(config: RunConfig) -> str:
    """A sentence on the tokenizer of BLEU; '' for the usual one. Raises UserError where it cannot be used here."""
    wanted = config.training.bleu_tokenizer
    return (_text(config.data)[1] if wanted == AUTO else choose(wanted, [])).sentence


def identify(config: RunConfig) -> str:
    """hash8 of a run."""
    return records.identity(flat(config), corpus_digest(config.data))


@dataclass(frozen=True)
class Recipe:
    """What the runs of a study's folder share. config: all options, but for arm and seed. named: the folder's name was
    chosen, not made from what differs from the plain study; then runs in it may differ in other options too."""

    study: Study
    preset: Preset
    config: RunConfig
    folder: str
    named: bool = False

    @classmethod
    def of(
        cls,
        study: Study,
        preset: str | None = None,
        data: str | None = None,
        src: str = DataConfig.src,
        tgt: str = DataConfig.tgt,
        overrides: Mapping[str, Any] | None = None,
        folder: str | None = None,
    ) -> "Recipe":
        """The recipe. Raises UserError for a wrong option; `overrides`: options that differ from the preset.

        The study's metric is that of its runs, unless `overrides` name another, which is then the study's.
        """
        if not data and (src, tgt) != (DataConfig.src, DataConfig.tgt):
            raise UserError(f"--src {src} --tgt {tgt}: name the folder of text too, --data (make: DATA=)")
        usual = presets.default_for(data)
        chosen = presets.get(preset or usual)
        text = {"data": data, "src": src, "tgt": tgt} if data else {}
        control = next((arm for arm in study.combinations if arm.name == study.control), None)
        own = study.sets(chosen.name)
        method = (control.values if control else {}).get("method", methods.DEFAULT)
        known = all_options(with_values(RunConfig(), {"method": method}))
        others = {name: value for name, value in own.items() if name not in known and belongs_to(name)}
        read_by_control = {name: value for name, value in own.items() if name not in others}
        values = {**text, "metric": study.metric, **read_by_control, **(overrides or {})}
        config = with_values(chosen.shared(method), values)
        title = plan.title(study.name, chosen.name, config, usual, overrides or {})
        given = {name: value for name, value in all_options(config).items() if name in {**own, **(overrides or {})}}
        study = chosen.applied(replace(study, metric=config.training.metric, fixed=own, given=others | given))
        check(with_values(config, study.as_run(control).values) if control else config)
        return cls(study, chosen, config, folder or title, named=bool(folder))

    def job(self, arm: Arm, seed: int) -> Job:
        """One run."""
        config = plan.config_of(arm, self.config, seed=seed)
        return plan.job_for(arm, self.folder, config, identify(config))

    def jobs(self, seeds: int, only: Collection[str] = ()) -> list[Job]:
        """All arms with seeds 1 to N. only: those that are to run here; none = all."""
        return plan.jobs_for(self.study, self.folder, self.config, seeds, identify, only)

    @property
    def queue(self) -> str:
        """Name of the Optuna study; in a folder whose name was chosen, where options may differ, just that name."""
        if self.named:
            return self.folder
        values = {**flat(self.config), "data": corpus_digest(self.config.data)}
        return queue_name(self.folder, self.study.arms, values)

    def facts(self, jobs: Sequence[Job], command: str) -> dict[str, Any]:
        """The content of study.json."""
        banner = None if self.config.data.data else BANNER
        described = plan.describe(self.study, jobs, self.preset.name, command, banner, self.queue)
        text, said = corpus_digest(self.config.data), scoring(self.config)
        described |= {"scoring": said} if said else {}
        described |= {"fixed": dict(self.study.fixed)} if self.study.fixed else {}
        return described | {"tuning": self.preset.tuning, "corpus_digest": text, "commit": commit()}


def enroll(folder: Path, facts: Mapping[str, Any]) -> None:
    """Enter runs in a study's study.json: those that it has stay, so that engines can share a folder."""
    with records.exclusive(folder / "sweep.lock"):
        path = folder / STUDY
        old = read(path) if path.exists() else facts
        merged = {name: list(dict.fromkeys([*old.get(name, ()), *facts[name]])) for name in ("seeds", "runs")}
        merged["seeds"].sort()
        if not path.exists() or any(merged[name] != old.get(name) for name in merged):
            write_json(path, {**old, **merged})
