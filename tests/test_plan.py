"""What a sweep has to run, from its command line to its jobs."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_sweep import ROOT

from ablations import presets, studies
from ablations.studies import Arm
from core.config import RunConfig, digest, flat, with_values
from core.errors import UserError
from core.methods import released
from sweeps import extras
from sweeps.running import plan, pool, storage, trials
from sweeps.running.options import FEW, MANY, SweepOptions, workers_for
from sweeps.running.point_runs import run_of
from sweeps.running.prepare import check_runs, prepare
from sweeps.running.recipe import Recipe
from sweeps.running.report import show_plan
from sweeps.tuning.options import SearchOptions
from sweeps.tuning.prepare import prepare as tune


@pytest.mark.parametrize(
    ("text", "value"),
    [("a=3", 3), ("a=2.5", 2.5), ("a=none", None), ("a=True", True), ("a=cosine", "cosine"), ("a=b=c", "b=c")],
)
def test_options_on_the_command_line(text: str, value: Any) -> None:
    assert plan.parse(text) == ("a", value)


def arms_study() -> Any:
    """The study of the paper's modules."""
    return studies.get("modules")


def test_overrides_may_not_touch_what_the_study_varies() -> None:
    assert plan.overrides_for(arms_study(), ["updates=3"]) == {"updates": 3}
    for wrong in ("seed=3", "noise_factor=2", "updates", "data=x"):
        with pytest.raises(UserError, match="--set"):
            plan.overrides_for(arms_study(), [wrong])


def systems(command: Any, *overrides: str, only: tuple[str, ...] = (), preset: str = "smoke") -> Any:
    """The recipe and the arms of a sweep or search of all methods."""
    kind = {prepare: SweepOptions, tune: SearchOptions}[command]
    options = kind(study="systems", preset=preset, seeds=1, overrides=overrides, only=(only,) if only else ())
    if command is tune:
        sweep, search = tune(options, "sweeps.search")
        assert {job.arm for job in sweep.jobs} == {arm.name for arm in search.arms}
        return sweep, search.arms
    sweep, _ = prepare(options, "sweeps.study")
    return sweep, [job.arm for job in sweep.jobs]


@pytest.mark.parametrize("command", [prepare, tune])
def test_an_option_is_asked_of_the_chosen_arms_alone(command: Any) -> None:
    sweep, arms = systems(command, "passes=4", only=("cmlm", "mdlm"))
    assert len(arms) == 2 and {job.config["passes"] for job in sweep.jobs} == {4}
    for job in sweep.jobs:
        direct = with_values(presets.get("smoke").config_for(job.arm), {"passes": 4})
        assert job.config == flat(direct), "as the command for one run makes it"
    other, _ = systems(command, "passes=4", only=("rdm",))
    assert (other.queue, other.arms) == (sweep.queue, sweep.arms) == (sweep.queue, ("cmlm", "mdlm", "rdm"))
    assert other.facts == sweep.facts and sweep.facts["control"] == "cmlm"
    assert sweep.facts["factors"] == {"method": ["cmlm", "mdlm", "rdm"]}


@pytest.mark.parametrize("command", [prepare, tune])
@pytest.mark.parametrize(
    ("assignment", "only", "said"),
    [
        (
            "passes=4",
            (),
            r"--set passes: arm difformer does .*it belongs to cmlm, mdlm, rdm; others can run: --only cmlm ",
        ),
        ("passes=4", ("rdm", "dinoiser"), r"arm dinoiser does not read it; .* --only rdm$"),
        ("passes=4", ("dinoiser",), r"arm dinoiser does not read it; it belongs to cmlm, mdlm, rdm$"),
        ("early_stop=1", ("cmlm",), "^--set early_stop: arm cmlm does not read it"),
        ("noise_removal=True", ("mdlm",), "^option noise_removal: goes with unmasking ancestral alone"),
        ("passes=-4", ("cmlm", "mdlm"), "^option passes: "),
        ("temperature=-1", (), "^option temperature: "),
        ("updates=0", ("cmlm",), "^option updates: "),
        ("updats=3", ("cmlm",), "unknown option 'updats'. Did you mean 'updates'"),
        ("updates=3", ("cmml",), "--only cmml: no such arm. Did you mean 'cmlm'"),
    ],
)
def test_what_a_chosen_arm_cannot_have_is_said(command: Any, assignment: str, only: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        systems(command, assignment, only=only)


def test_a_value_that_an_arm_left_out_cannot_have_does_not_matter() -> None:
    with pytest.raises(UserError, match=r"\(arm diffuseq\); others can run: --only difformer autoregressive "):
        systems(prepare, preset="iwslt14")
    assert systems(prepare, preset="iwslt14", only=("difformer", "cmlm"))[1] == ["difformer", "cmlm"]


def test_what_is_set_is_asked_of_the_recipe_that_an_arm_has() -> None:
    """2,000 steps of DiffuSeq, where the default has 20."""
    _, arms = systems(prepare, "early_stop=100", only=("diffuseq",), preset="as_released")
    assert arms == ["diffuseq"]


TRANSFER = [
    f"seqdiffuseq+{loss}+{norm}+{noise}"
    for loss in ("rounding", "anchor") for norm in ("nonorm", "norm") for noise in ("F1", "F4")
]  # fmt: skip


def test_what_a_study_sets_for_the_arms_left_out_is_not_asked_of_the_chosen() -> None:
    """The positions of DiffuSeq, in study transfer."""
    options = SweepOptions(
        study="transfer", preset="smoke", seeds=1, only=(tuple(TRANSFER),), overrides=("stride=none",)
    )
    sweep, _ = prepare(options, "sweeps.study")
    assert [job.arm for job in sweep.jobs] == TRANSFER
    assert {job.config["stride"] for job in sweep.jobs} == {None}
    assert not any("restart_positions" in job.config for job in sweep.jobs)


def test_what_a_study_sets_holds_whichever_arm_options_start_from() -> None:
    study = replace(studies.get("transfer"), control=TRANSFER[0])
    configs = {arm.name: plan.config_of(arm, Recipe.of(study).config) for arm in Recipe.of(study).study.arms}
    asked = {name: flat(config).get("restart_positions") for name, config in configs.items()}
    assert asked == {name: True if name.startswith("diffuseq") else None for name in configs}


def test_a_method_may_be_set_for_all_arms() -> None:
    given = ("method=dinoiser", "least_level=0.01")
    sweep, _ = prepare(SweepOptions(study="samplers", preset="as_released", seeds=1, overrides=given), "sweeps.study")
    assert {(job.config["method"], job.config["least_level"], job.config["lr"]) for job in sweep.jobs} == {
        ("dinoiser", 0.01, released("dinoiser")["lr"])
    }


def test_memory_is_asked_for_the_chosen_arms_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(plan, "check_memory", lambda config: asked.append(config.method.name))
    sweep, _ = systems(prepare, only=("cmlm", "mdlm"))
    assert asked == ["cmlm", "mdlm"] and len(sweep.arms) > 2


@pytest.mark.parametrize("command", [prepare, tune])
def test_as_released_leaves_out_a_method_without_a_recipe(command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = systems(command, only=("mdlm",), preset="as_released")
    monkeypatch.delattr("core.methods.cmlm_options.AS_RELEASED")
    with pytest.raises(
        UserError, match=r"method cmlm has no released recipe: write .*; others can run: --only difformer auto"
    ):
        systems(command, preset="as_released")
    sweep, _ = systems(command, only=("mdlm",), preset="as_released")
    assert sweep.jobs == whole.jobs and set(whole.arms) - set(sweep.arms) == {"cmlm"}


def test_what_is_given_holds_for_arms_with_another_default() -> None:
    """The control's default was taken for nothing said: then an arm of another method had its own."""
    sweep, _ = systems(prepare, "length_loss_factor=0.1", only=("difformer", "dinoiser"))
    assert {job.config["length_loss_factor"] for job in sweep.jobs} == {0.1}
    sweep, _ = systems(prepare, "clamping=False", only=("difformer", "diffuseq"), preset="as_released")
    assert {job.config["clamping"] for job in sweep.jobs} == {False}


def test_a_point_as_released_is_the_run_of_a_sweep() -> None:
    sweep, _ = systems(prepare, only=("rdm",), preset="as_released")
    point = {"study": "systems", "preset": "as_released", "method": "rdm"}
    assert run_of(point).job == sweep.jobs[0] and sweep.jobs[0].config["updates"] == 300_000


def test_a_study_of_some_of_its_arms() -> None:
    transfer = studies.get("transfer")
    some = transfer.of_arms([arm.name for arm in transfer.arms if arm.toggles["method"] != "diffuseq"])
    assert some.control == "seqdiffuseq+rounding+nonorm+F1" and len(some.arms) == 16
    assert arms_study().of_arms([arm.name for arm in arms_study().arms]) == arms_study()


def test_names_of_study_folders() -> None:
    data = with_values(RunConfig(), {"data": "/somewhere/multi 30k/"})
    assert plan.title("modules", "tiny", RunConfig(), "tiny", {}) == "modules"
    assert plan.title("modules", "small", data, "small", {}) == "modules-multi_30k"
    back = with_values(data, {"src": "en", "tgt": "de"})
    assert plan.title("modules", "small", back, "small", {}) == "modules-multi_30k-en-de", "another study than de-en"
    assert plan.title("modules", "gpu", data, "small", {"lr": 1e-3}) == "modules-multi_30k-gpu-lr=0.001"


def test_jobs_go_seed_by_seed_and_have_their_own_hashes() -> None:
    jobs = plan.jobs_for(arms_study(), "modules", RunConfig(), 2, lambda config: digest(flat(config)))
    assert [job.seed for job in jobs] == [1] * 8 + [2] * 8
    assert len({job.hash8 for job in jobs}) == 16
    assert jobs[0].arm == "anchor+norm+F4" and jobs[0].config["noise_factor"] == 4.0
    with pytest.raises(UserError, match=r"--only.*Did you mean 'anchor\+norm\+F4'"):
        plan.select(jobs, ["anchor+norm+F5"])


def test_queue_names_change_with_arms_and_options_but_not_with_the_seed() -> None:
    one, two = Arm("a", "A", {}, {"lr": 1.0}), Arm("b", "B", {}, {"lr": 2.0})
    name = trials.queue_name("s", [one, two], {"seed": 1, "updates": 3})
    assert name == trials.queue_name("s", [one, two], {"seed": 2, "updates": 3})
    assert name != trials.queue_name("s", [one], {"seed": 1, "updates": 3})
    assert name != trials.queue_name("s", [one, two], {"seed": 1, "updates": 4})


def test_dry_run_lists_and_writes_nothing(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "sweeps.study", "--dry-run", "--runs", str(tmp_path / "runs"), "--seeds", "1"]
    done = subprocess.run([*line, "--preset", "smoke"], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.count("to do   ") == 8 and "8 of 8 runs to do" in done.stdout
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_says_what_the_study_fixes_itself(capsys: pytest.CaptureFixture[str]) -> None:
    """With one preset it sets more than with others; what is set on the command line is not said."""

    def said(*overrides: str, preset: str = "tiny") -> str:
        options = SweepOptions(study="transfer", preset=preset, seeds=1, overrides=overrides)
        show_plan(*prepare(options, "sweeps.study"))
        return capsys.readouterr().out

    assert "the study sets itself: restart_positions True, updates 1000;" in said()
    assert "the study sets itself: restart_positions True;" in said("updates=7")
    assert "the study sets itself: restart_positions True;" in said(preset="smoke")


def test_arms_are_chosen_together_or_one_by_one() -> None:
    line = [sys.executable, "-m", "sweeps.study", "--dry-run", "--preset", "smoke", "--seeds", "1"]
    line += ["--only", "anchor+norm+F4", "anchor+norm+F1", "--only", "rounding+norm+F4"]
    done = subprocess.run(line, capture_output=True, text=True, cwd=ROOT, check=True)
    assert "3 of 3 runs to do" in done.stdout and "rounding+norm+F4" in done.stdout


def test_a_wrong_option_is_refused_with_the_nearest() -> None:
    line = [sys.executable, "-m", "sweeps.study", "--sedes", "3"]
    done = subprocess.run(line, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 2 and "--seeds" in done.stderr


def test_a_storage_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--storage nosuchdb://x"):
        storage.open_storage("nosuchdb://x")


@pytest.mark.parametrize(
    "url", ["grpc://:s3cret@127.0.0.1:1", "grpc://me:s3%20cret@h:1", "postgresql://me:s3cret@h:x/d"]
)
def test_a_password_that_is_taken_for_a_port_is_not_shown(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage.time, "sleep", lambda seconds: None)
    with pytest.raises(UserError, match="cannot be opened") as caught:
        storage.open_storage(url)
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "package"),
    [
        ("postgresql://me:secret@h/d", "psycopg[binary]"),
        ("mysql://me:secret@h/d", "pymysql"),
        ("grpc://h:13000", "grpcio"),
        ("redis://h", "redis"),
    ],
)
def test_a_storage_whose_package_is_not_installed_says_how_it_is(
    url: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(module: str) -> None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    monkeypatch.setattr(extras.importlib, "import_module", missing)
    with pytest.raises(UserError, match=re.escape(f"python -m pip install {package} (or `make setup`)")) as caught:
        storage.open_storage(url)
    assert str(caught.value).startswith(f"--storage {url.split(':')[0]}://") and "secret" not in str(caught.value)


@pytest.mark.parametrize("content", [b"no line end", b"notes\nof mine", b"SQLite format 3\0", b'{"other": 1}\n{'])
def test_a_file_that_is_no_journal_stays_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"--storage .*notes: cannot be opened \(.*no journal of Optuna's"):
        storage.open_storage(str(path))
    assert path.read_bytes() == content and list(tmp_path.iterdir()) == [path]


def test_workers_run_on_one_thread_each_and_share_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert pool.environment(0, [])["OMP_NUM_THREADS"] == "1"
    assert [pool.environment(slot, ["2", "5"])["CUDA_VISIBLE_DEVICES"] for slot in range(3)] == ["2", "5", "2"]


@pytest.mark.parametrize(
    ("preset", "devices", "memory", "cores", "workers"),
    [
        ("gpu", ["0"], 140e9, 16, FEW),
        ("gpu", ["0", "1"], 140e9, 16, 2 * FEW),
        ("gpu", ["0"], 8e9, 16, 1),
        ("gpu", ["0"], 140e9, 3, 3),
        ("tiny", ["0"], 140e9, 16, MANY),
        ("tiny", [], 0.0, 5, 5),
    ],
)
def test_a_gpu_has_as_many_workers_as_its_memory_and_the_cores_carry(
    monkeypatch: pytest.MonkeyPatch, preset: str, devices: list[str], memory: float, cores: int, workers: int
) -> None:
    monkeypatch.setattr(pool, "gpu_memory", lambda: memory)
    monkeypatch.setattr(pool, "cores", lambda: cores)
    config = presets.get(preset).config_for("difformer")
    assert workers_for(SweepOptions(), devices, config) == workers
    assert workers_for(SweepOptions(workers=1), devices, config) == 1
    if devices:
        with pytest.raises(UserError, match=r"--workers 500: a run takes about .* GB .*; at most \d+$"):
            workers_for(SweepOptions(workers=500), devices, config)


def test_all_methods_can_be_compared() -> None:
    """Each has options of its own, at its own defaults."""
    recipe = Recipe.of(studies.get("systems"), "smoke")
    assert plan.comparable(recipe.jobs(seeds=2))
    other = [
        *recipe.jobs(seeds=1),
        *Recipe.of(studies.get("systems"), "smoke", overrides={"updates": 13}).jobs(seeds=1),
    ]
    assert not plan.comparable(other)


def test_a_home_that_is_not_looked_up_is_refused() -> None:
    """The check looked at one folder, and the runs went to another, called ~."""
    for name in ("~/runs", "~nobody/runs"):
        with pytest.raises(UserError, match="name the folder in full"):
            check_runs(Path(name))


def test_a_plan_moves_no_cursor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = SweepOptions(preset="smoke", seeds=1, runs=tmp_path / "\x1b[31m")
    show_plan(*prepare(options, "sweeps.study"))
    assert "\x1b" not in (said := capsys.readouterr().out) and "⟨U+001B⟩" in said
