"""W&B or nothing, with the same three methods: log(row), results(folder), finish(state).

Without WANDB_MODE and without a key, runs are written offline beside the run folders (`wandb sync` sends them later,
`python -m sweeps.mirror` writes them anew). WANDB_MODE=disabled turns it off. W&B is a mirror of the run folder: when
it fails, that is reported once and the run goes on.

A run of a sweep file (sweeps/agent.py) has its sweep in run.json. Under W&B's own agent (WANDB_SWEEP_ID set) the run
takes the agent's WANDB_RUN_ID, WANDB_RUN_GROUP and project, the sweep's values (WANDB_SWEEP_PARAM_PATH) have the last
word in its configuration, and run.json notes whose it is.
"""

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablations import records
from ablations.records import NullTracker, Tracker
from core.config import digest
from core.errors import UserError
from core.run_folder import METRICS, SAMPLES, SCORES, read
from sweeps.wb import archive, private
from sweeps.wb.connection import client, mode, one_line, reachable, report, server

if TYPE_CHECKING:
    from sweeps.wb import lineage  # imports wandb

PROJECT = "embedding-diffusion"
INIT_SECONDS = 20.0
FINISH_SECONDS = 60.0
"""Longest wait for a server that does not answer, at the start and at the end of a run."""

ROOM_BYTES = 64 * 1024
"""With less left on its disk, what the client wrote may be cut off: it writes blocks of 32 KiB."""

STEPS = {"train/*": "train/step", "val/*": "train/step", "diag/*": "train/step"}
STEPS |= {"per_step/*": "per_step/t", "by_steps/*": "by_steps/steps"}
"""Which metric is the horizontal axis of which (never W&B's own counter)."""
ARCHIVE = ("archive/part", "archive/of", "archive/data")
"""Rows that hold the run folder's small files (archive.py); not for charts."""


_logged_steps: set[str] = set()
"""Runs of lineage that this process has written."""


@dataclass(frozen=True)
class Identity:
    """What a run is called in W&B."""

    id: str
    group: str
    sweep: str | None = None


def own_id(record: Mapping[str, Any]) -> str:
    """A run's id in W&B, unless an agent gives one: its hash8 and four digits for the study and arm it belongs to."""
    return f"{record['hash']}-{digest({'study': record['study'], 'arm': record['arm']})[:4]}"


def identity(record: Mapping[str, Any]) -> Identity:
    """What a run is called in W&B: what W&B's agent says (WANDB_SWEEP_ID set), or what its record has of a sweep.

    Otherwise it has its own id, and its group is the study.
    """
    own = own_id(record)
    if sweep := os.environ.get("WANDB_SWEEP_ID"):
        group = os.environ.get("WANDB_RUN_GROUP") or record["study"]
        return Identity(os.environ.get("WANDB_RUN_ID") or own, group, sweep)
    return Identity(**record["wandb"]) if record.get("wandb") else Identity(own, record["study"])


def filing(record: Mapping[str, Any]) -> dict[str, Any]:
    """How a run is filed: tags = toggles, the options and the toggles flat in the configuration.

    Under W&B's agent a sweep's own values are laid over this configuration by the client, and locked; project and id
    are in the agent's environment, which has the last word.
    """
    keys = ("study", "arm", "label", "seed", "hash")
    known = identity(record)
    told = bool(os.environ.get("WANDB_SWEEP_ID") and os.environ.get("WANDB_RUN_ID"))
    where = {} if told else {"project": os.environ.get("WANDB_PROJECT", PROJECT), "id": known.id}
    return where | {
        "name": f"{record['arm']}-s{record['seed']}",
        "group": known.group,
        "job_type": "train",
        "tags": [f"{name}={level}"[:64] for name, level in record["toggles"].items()],
        "config": {**record["config"], **record["toggles"], **{key: record[key] for key in keys}, "record": record},
    }


def _settings(online: bool, sweep: str | None) -> Any:
    values: dict[str, Any] = {"silent": True, "console": "off", "disable_code": True, "disable_git": True}
    values |= {"sweep_id": sweep} if sweep else {}
    values |= {"init_timeout": INIT_SECONDS, "finish_timeout": FINISH_SECONDS} if online else {}
    values |= private.experimental_settings(online)
    known = client().Settings.model_fields  # older versions wait without a limit
    return client().Settings(**{name: value for name, value in values.items() if name in known})


def wandb_dir(folder: Path) -> Path:
    """Where W&B writes for a run folder; its staging and caches go there too, not into the user's home."""
    place = Path(os.environ.get("WANDB_DIR") or folder.parent)
    for name in ("DATA", "CACHE", "ARTIFACT"):
        os.environ.setdefault(f"WANDB_{name}_DIR", str((place / "wandb" / name.lower()).resolve()))
    (place / "wandb").mkdir(parents=True, exist_ok=True)
    return place


class WandbTracker:
    """One run in W&B, online or offline. No method raises: a failure is reported once and ends the mirroring."""

    def __init__(self, folder: Path, mode: str) -> None:
        self.folder, self.given, self.seen, self.well, self.gone = folder, 0, -1, True, False
        self.run: Any = None
        self._safely(lambda: self._start(mode))

    def _start(self, mode: str) -> None:
        record = records.read(self.folder)
        known, place, online = identity(record), wandb_dir(self.folder), mode == "online"
        if known.sweep and record["state"] != "finished":  # so that it can be mirrored without the agent
            record = records.update(self.folder, wandb=asdict(known))
        if not online:  # this run will hold all rows, also those before an interruption
            for old in (place / "wandb").glob(f"offline-run-*-{known.id}"):
                shutil.rmtree(old, ignore_errors=True)
        try:
            run = client().init(
                dir=str(place),
                mode=mode,
                resume="allow" if online else None,
                reinit="finish_previous",
                settings=_settings(online, known.sweep),
                **filing(record),
            )
        except Exception as error:
            if not online:
                raise
            report(f"{one_line(error)}; writing offline instead (`wandb sync` sends it later)")
            os.environ["WANDB_MODE"] = "offline"
            return self._start("offline")
        self.run = run
        self.seen = run.summary.get("train/step", -1) if online and run.resumed else -1
        for pattern, step in STEPS.items():
            run.define_metric(step, hidden=True)
            run.define_metric(pattern, step_metric=step)
        for name in dict.fromkeys(("bleu", record["config"].get("metric", "bleu"))):
            run.define_metric(f"val/{name}", step_metric="train/step", summary="max")
        for name in ARCHIVE:
            run.define_metric(name, hidden=True, summary="none")
        return None

    def _safely(self, action: Callable[[], Any]) -> None:
        try:
            action()
        except Exception as error:
            if self.well:
                again = f"python -m sweeps.mirror {self.folder.parent}"
                report(f"{one_line(error)}; the run goes on, its folder has everything (`{again}` writes it anew)")
            self.well = False

    def log(self, row: Mapping[str, Any]) -> None:
        """One row of metrics.jsonl; rows that the server has from before an interruption are left out."""
        if self.run is not None and self.well and row.get("train/step", 0) >= self.seen:
            present = {name: value for name, value in row.items() if value is not None}
            self._safely(lambda: self.run.log(present))
        self.given += 1

    def _catch_up(self) -> None:
        """The rows of the file that a signal kept from `log`: a row is written first, and shown after that."""
        for row in read(self.folder / METRICS)[self.given :]:
            self.log(row)

    def results(self, folder: Path) -> None:
        """Scores and costs into the summary; histograms, curves and texts; corpus and model as artifacts."""
        if self.run is not None and self.well:
            from sweeps.wb import lineage, media  # they import wandb

            record = records.read(folder)
            self._safely(lambda: media.show(self.run, folder))
            if not self._server_answers():
                return
            if record.get("data"):
                self._safely(lambda: self._log_lineage(record))
            if (folder / lineage.MODEL_FILES[0]).exists():
                self._safely(lambda: private.log_artifact(self.run, lineage.model(record, folder), used=True))
            self._safely(lambda: self.run.log(media.texts(read(folder / SAMPLES)[: media.SHOWN])))

    def _server_answers(self) -> bool:
        """Whether there is someone to take tables and artifacts, for which the client waits long; it is said if not."""
        if self.run.settings.mode != "online" or reachable(server()):
            return True
        if self.well and not self.gone:
            self.gone = True
            again = f"python -m sweeps.mirror {self.folder.parent}"
            report(f"{server()} is gone; tables and artifacts are left out (`{again}` sends them when it is back)")
        return False

    def _log_lineage(self, record: Mapping[str, Any]) -> None:
        """The corpus that the run uses, and runs that stand for how it came about if it is distilled.

        An agent's run can have none beside it.
        """
        from sweeps.wb import lineage

        for step in lineage.history(record["data"]) if not os.environ.get("WANDB_SWEEP_ID") else ():
            if step.id not in _logged_steps:
                _logged_steps.add(step.id)
                with client().init(**self._beside(step)) as run:
                    for artifact in step.used:
                        private.log_artifact(run, artifact, made=False, used=True)
                    private.log_artifact(run, step.made)
        private.log_artifact(self.run, lineage.corpus(record["data"], record["config"]), made=False, used=True)

    def _beside(self, step: "lineage.Step") -> dict[str, Any]:
        """Options of a run beside the own one."""
        own = self.run.settings
        online = own.mode == "online"
        where = {"project": self.run.project, "dir": str(wandb_dir(self.folder)), "mode": own.mode}
        where |= {"resume": "allow"} if online else {}
        shown = {"id": step.id, "name": step.id, "group": "corpora", "job_type": step.job_type, "config": step.config}
        return where | shown | {"reinit": "create_new", "settings": _settings(online, None)}

    def finish(self, state: str) -> None:
        """Close the run: failed in W&B unless it is finished. Its files, as they are now, go into log and artifact."""
        if (run := self.run) is not None:
            self._safely(self._catch_up)
            self._safely(lambda: run.config.update({"record": records.read(self.folder)}, allow_val_change=True))
            self._safely(self._log_files)
            self._safely(lambda: run.finish(exit_code=0 if state == "finished" else 1))
            self._safely(self._check_room)
            self.run = None

    def _check_room(self) -> None:
        """The client says nothing when the disk fills up in the middle of a run, and its file is then cut off."""
        if shutil.disk_usage(place := wandb_dir(self.folder)).free < ROOM_BYTES:
            raise OSError(f"the disk of {place} is full; W&B's file of this run may be incomplete")

    def _log_files(self) -> None:
        """The run's small files, for `python -m sweeps.fetch`."""
        for row in archive.rows(self.folder):
            self.run.log(row)
        if (self.folder / SCORES).exists() and self._server_answers():
            from sweeps.wb import lineage

            private.log_artifact(self.run, lineage.outputs(self.run.id, self.folder))


def tracker(folder: Path) -> Tracker:
    """The tracker of a run folder (which has its run.json). Whoever asks for it calls its `finish`, come what may."""
    try:
        where = mode()
    except UserError:
        raise
    except Exception as error:  # a broken installation of wandb, say
        report(f"{one_line(error)}; the run goes on without it")
        return NullTracker()
    return NullTracker() if where == "disabled" else WandbTracker(folder, where)


def mirror(folder: Path, mode: str) -> bool:
    """Write the W&B run of a run folder anew: its rows, its results, its end.

    False if something of it could not be written, which is said.
    """
    tracker = WandbTracker(folder, mode)
    for row in read(folder / METRICS):
        tracker.log(row)
    tracker.results(folder)
    tracker.finish(records.read(folder)["state"])
    return tracker.well and not tracker.gone
