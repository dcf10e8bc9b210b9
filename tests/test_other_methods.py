"""Arms of other methods: what only some runs left is shown of those; what none left is left out, and said."""

from pathlib import Path

import pandas as pd
import pytest
from fake_runs import edit, write_study

from analysis import tables
from analysis.figures import drawing
from analysis.load import StudyResults, load
from analysis.report.page import page

OF_DIFFUSION = ("embedding_norms", "per_step", "one_shot", "score_steps")


@pytest.fixture(scope="module")
def systems(tmp_path_factory: pytest.TempPathFactory) -> StudyResults:
    """A diffusion model and an autoregressive one."""
    return load(write_study(tmp_path_factory.mktemp("runs"), "systems"))


@pytest.fixture(scope="module")
def beam(tmp_path_factory: pytest.TempPathFactory) -> StudyResults:
    """Autoregressive arms alone."""
    return load(write_study(tmp_path_factory.mktemp("runs"), "beam"))


def test_both_methods_are_read_and_their_options_are_no_complaint(systems: StudyResults, beam: StudyResults) -> None:
    assert len(systems.scores) == 6 and len(systems.probes) == 3
    assert systems.notes == beam.notes == ()


def test_an_option_that_differs_within_a_method_is_told(tmp_path: Path) -> None:
    path = write_study(tmp_path, "systems", seeds=(1, 2))
    record = next(path.glob("autoregressive-s1-*")) / "run.json"
    edit(record, config=load(path).records[record.parent.name]["config"] | {"label_smoothing": 0.2})
    assert load(path).notes == ("the results differ in label_smoothing, which no arm sets: 0.1, 0.2",)


def test_figures_show_the_arms_that_have_what_they_show(systems: StudyResults, tmp_path: Path) -> None:
    written, said = drawing.redraw(systems, tmp_path, ["png"])
    assert {path.stem for path in written} == {module.NAME for module in (*drawing.MODULES, *drawing.METHOD_MODULES)}
    assert said == [f"{', '.join(OF_DIFFUSION)} drawn without autoregressive: no data of it"]
    assert set(pd.read_csv(tmp_path / "per_step.csv")["arm"]) == {"difformer"}
    losses = pd.read_csv(tmp_path / "loss_collapse.csv")
    assert set(losses.loc[losses["metric"] == "train/nll", "arm"]) == {"difformer", "autoregressive"}
    assert set(losses.loc[losses["metric"] == "train/mse", "arm"]) == {"difformer"}


def test_a_figure_of_which_no_arm_has_anything_is_left_out(beam: StudyResults, tmp_path: Path) -> None:
    written, said = drawing.redraw(beam, tmp_path, ["png"])
    assert {path.stem for path in written} == {"ablation", "loss_collapse"}
    assert [line.partition(" left out: no run ")[0] for line in said] == list(OF_DIFFUSION)


def test_a_kind_of_norm_that_no_arm_has_costs_a_row(tmp_path: Path) -> None:
    import numpy as np

    path = write_study(tmp_path, "token_loss", seeds=(1,))
    for file in path.glob("*/probes.npz"):
        arrays = dict(np.load(file))
        del arrays["norm_raw"]
        np.savez(file, **arrays)
    study = load(path)
    figure = drawing.draw(study, "embedding_norms")
    assert len({ax.get_subplotspec().rowspan.start for ax in figure.axes}) == 1  # type: ignore[union-attr]


def test_tables_say_what_each_method_has(systems: StudyResults, beam: StudyResults) -> None:
    made = tables.tabulate(systems)
    footer = "\n".join(made.lines)
    assert (
        "candidates (lengths x noises): 1x1 | 1; beam: 5 (autoregressive); decoding steps K: 20 (difformer)" in footer
    )
    rows = made.frames["table"].set_index("arm")
    assert rows.loc["autoregressive", "decoding_steps"] == "n/a" and rows.loc["difformer", "decoding_steps"] == "20"
    assert "decoding steps" not in "\n".join(tables.tabulate(beam).lines)


def test_the_report_takes_them(systems: StudyResults, beam: StudyResults) -> None:
    both = page(systems)
    assert "Without autoregressive: no data of it." in both
    assert "options that not all arms have" in both and "<bdi>label_smoothing</bdi>" in both
    assert 'id="decoding"' in both and "Samples and their decoding" in both
    alone = page(beam)
    assert 'id="decoding"' not in alone and "Samples and their decoding" not in alone
    assert alone.count(": left out, no run ") == 4
    assert '<th scope="col">K</th>' in both and '<th scope="col">K</th>' not in alone


def test_curves_without_norms_are_no_mixture_of_source_and_target_types(tmp_path: Path) -> None:
    """A method over tokens measures accuracy at each t, and no embedding."""
    import numpy as np

    from analysis.mixture import mixed_in_probes

    path = write_study(tmp_path, "systems", seeds=(1,))
    curves = {"t": np.arange(3), "accuracy": np.ones(3), "frequency": np.ones(5), "types": np.array(list("abcde"))}
    for run in path.glob("autoregressive-*"):
        np.savez(run / "probes.npz", allow_pickle=False, **curves)
    study = load(path)
    assert mixed_in_probes(study, [arm.name for arm in study.arms]) == []
    np.savez(run / "probes.npz", allow_pickle=False, **curves, norm=np.ones(5))
    assert mixed_in_probes(load(path), ["autoregressive"]) == [run.name]


def test_methods_with_other_units_of_time_share_an_axis(tmp_path: Path) -> None:
    """t of 0 to T - 1, and a share from 0 to 1: both from 0 to 1."""
    import numpy as np

    from analysis.figures import per_step

    path = write_study(tmp_path, "systems", seeds=(1,))
    assert per_step.tidy(load(path))["t"].max() > 1
    curve = {"t": np.array([0.0, 0.5, 1.0]), "accuracy": np.array([0.9, 0.8, 0.1])}
    for run in path.glob("autoregressive-*"):
        np.savez(run / "probes.npz", allow_pickle=False, **curve)
    study = load(path)
    assert per_step.x_label(study) == "t / T" and set(per_step.tidy(study).groupby("arm")["t"].max()) == {1.0}
