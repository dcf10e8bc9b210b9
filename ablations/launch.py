"""One run in this process, or in the processes that torchrun started."""

import re
from collections.abc import Callable
from pathlib import Path

from ablations import presets, records
from ablations.execute import execute, folder_of, single_arm
from ablations.place import Place
from ablations.show_training import length
from core import distributed
from core.checks import check_threads
from core.config import RunConfig
from core.display import shown
from core.distributed import RankLost, Ranks
from core.errors import UserError
from core.sizes import check_memory
from core.text.materials import device_for

Track = Callable[[Path], records.Tracker]
"""Makes the tracker of a run folder: where the run is shown besides."""


def untracked(folder: Path) -> records.Tracker:
    """Nowhere."""
    return records.NullTracker()


def launch(config: RunConfig, place: Place, preset: str, track: Track = untracked) -> int:
    """Run one arm, and show how it goes; status 0 when it is finished.

    Raises UserError if it cannot fit into the machine's memory.
    """
    check_memory(config)
    check_place(place)
    ranks = distributed.join(device_for(place.device))
    try:
        return lead(config, place, preset, ranks, track) if ranks.lead else follow(config, place, ranks)
    finally:
        distributed.leave()


def check_place(place: Place) -> None:
    """Raises UserError on a place no run can have."""
    device_for(place.device)
    if place.minutes is not None and place.minutes <= 0:
        raise UserError(f"option minutes: {place.minutes:g} is no time to run")
    place.begin()
    check_threads(place.threads)
    if not re.fullmatch(r"[\w.=+-]+", place.study) or place.study in (".", ".."):
        raise UserError(f"option study: {place.study!r} names a folder; use letters, digits and . _ = + -")
    try:
        (place.runs / place.study).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"option runs: {place.runs} cannot be made ({error.strerror})") from error


def lead(config: RunConfig, place: Place, preset: str, ranks: Ranks, track: Track) -> int:
    """Run the arm, with the other ranks if there are any."""
    tuning = {"trials": 0, "note": presets.get(preset).tuning}
    arm = single_arm(config)
    folder = folder_of(config, arm, place.study, place.runs, preset=preset, tuning=tuning)
    if records.read(folder)["state"] == "finished":
        print(f"{folder}: finished already")
        ranks.told(None)
        return 0
    if not records.claim(folder):
        raise UserError(f"{folder}: another process runs this arm")
    tracker: records.Tracker = records.NullTracker()
    try:
        tracker = track(folder)
        ranks.told(folder)
        with shown() as display:
            display.say(f"{folder}: {length(config.training)}")
            found = execute(config, folder, tracker, place, ranks)
    except RankLost as error:
        records.suspend(folder, str(error))
        raise
    except UserError as error:
        records.fail(folder, str(error), refused=True)
        raise
    except (KeyboardInterrupt, SystemExit):
        records.suspend(folder)
        raise
    except Exception as error:
        records.fail(folder, f"{type(error).__name__}: {error}")
        raise
    finally:
        tracker.finish(records.read(folder)["state"])
        records.release(folder)
    print(f"{folder}: BLEU {found['bleu']:.2f} (brevity penalty {found['brevity_penalty']:.3f}, {found['signature']})")
    return 0


def follow(config: RunConfig, place: Place, ranks: Ranks) -> int:
    """One of the other ranks, which writes nothing; when the first one ends early, it is that one's to say why."""
    try:
        folder = ranks.told(None)
        if folder is not None:
            execute(config, folder, records.NullTracker(), place, ranks)
    except RankLost:
        return 1
    except KeyboardInterrupt:
        return 130
    return 0
