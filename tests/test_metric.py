"""The study's metric decides checkpoints, pruning, search and verdicts alike; BLEU's tokenizer is said at the start."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from fake_runs import edit, write_study

from ablations import search_run, studies
from ablations.execute import execute, folder_of, single_arm
from ablations.place import Place
from ablations.presets import get
from ablations.records import NullTracker, claim, release
from ablations.rescoring import rescored
from ablations.studies import Study
from analysis import tables
from analysis.load import load
from analysis.results import metric_name
from core import run_folder, scores
from core.checks import check
from core.config import flat, with_values
from core.errors import UserError
from core.evaluator import Evaluator, new_network
from core.run_folder import read
from core.scoring.scripts import words
from core.text.materials import device_for, prepare
from core.training.job import never
from sweeps.running import prepare as sweeps
from sweeps.running.options import SweepOptions
from sweeps.running.point_runs import run_of
from sweeps.running.recipe import Recipe
from sweeps.tuning.options import SearchOptions
from sweeps.tuning.prepare import prepare as prepare_search
from sweeps.tuning.stop import Stop

CHRF = dataclasses.replace(studies.get("self_conditioning"), name="chrf", metric="chrf")


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> Study:
    """A study that is judged by chrF."""
    monkeypatch.setitem(studies.STUDIES, "chrf", CHRF)
    return CHRF


def test_runs_know_the_metric_of_their_study(study: Study) -> None:
    recipe = Recipe.of(study, "smoke")
    assert {job.config["metric"] for job in recipe.jobs(2)} == {"chrf"} and recipe.folder == "chrf-smoke"
    usual = Recipe.of(studies.get("self_conditioning"), "smoke")
    assert "metric" not in flat(usual.config), "BLEU is as before: identities hold"
    point = {"study": "chrf", "preset": "smoke", "self_conditioning": True}
    assert run_of(point).job == recipe.jobs(1)[0], "an agent makes the same run"


def test_a_metric_that_is_named_is_the_studys() -> None:
    sweep, _ = sweeps.prepare(SweepOptions(study="norm", preset="smoke", overrides=("metric=rougeL",)), "sweeps.study")
    assert sweep.metric == sweep.facts["metric"] == "rougeL" and sweep.jobs[0].config["metric"] == "rougeL"
    assert sweep.folder.name == "norm-smoke-metric=rougeL"
    point = {"study": "norm", "preset": "smoke", "norm_placement": "latent", "metric": "rougeL"}
    assert run_of(point).job.key == sweep.jobs[0].key
    with pytest.raises(UserError, match=r"option metric: there is no score 'rouge_l'\. Did you mean 'rougeL'\?"):
        sweeps.prepare(SweepOptions(study="norm", preset="smoke", overrides=("metric=rouge_l",)), "sweeps.study")


def test_a_search_goes_by_it(study: Study) -> None:
    sweep, search = prepare_search(SearchOptions(study="chrf", preset="smoke"), "sweeps.search")
    assert (search.metric, search.score_name, sweep.metric) == ("chrf", "val/chrf", "chrf")


class Trials:
    """Stands for the trials of an arm: keeps what it is told."""

    told: list[float] = []  # noqa: RUF012

    def __init__(self, *arguments: Any) -> None: ...

    def report(self, trial: Any, step: int, value: float) -> None:
        self.told.append(value)

    def would_prune(self, trial: Any) -> bool:
        return True


def test_pruning_looks_at_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeps.tuning.stop.ArmTrials", Trials)
    monkeypatch.setattr("sweeps.tuning.stop.trial_at", lambda storage, number: None)
    facts = {"pruner": "median", "updates": 12, "optuna_study": "x", "trial_id": 1, "offset": 0}
    assert Stop(None, facts, "chrf")(6, {"val/bleu": 1.0, "val/chrf": 2.0})  # type: ignore[arg-type]
    assert Trials.told == [2.0]


def smoke(**values: Any) -> Any:
    return with_values(get("smoke").config, values)


def test_a_validation_has_bleu_and_the_metric() -> None:
    config = smoke(metric="chrf")
    evaluator = Evaluator(prepare(config.data), config, device_for("cpu"))
    network = new_network(config, evaluator.method, evaluator.materials, evaluator.device).eval()
    found = evaluator.validate(network)
    texts = evaluator.texts(network, evaluator.valid, evaluator.method.validation)
    assert found["val/chrf"] == scores.score(texts, evaluator.valid.references)["chrf"]
    assert found["val/bleu"] == scores.bleu(texts, evaluator.valid.references) and "val/nll" in found


def test_a_run_of_a_search_that_is_stopped_has_it(tmp_path: Path) -> None:
    for name, stop in (("stopped", lambda step, scored: True), ("whole", never)):
        config = smoke(metric="rougeL", keep_best=2)
        folder = folder_of(config, single_arm(config), name, tmp_path)
        assert claim(folder)
        found = search_run.execute(config, folder, NullTracker(), Place(), stop)
        release(folder)
        assert "val/rougeL" in found and ("val_mean" in found) is (name == "whole")


def test_a_run_keeps_the_metric_of_each_sentence(tmp_path: Path) -> None:
    """So that arms can be compared by it sentence by sentence; their mean is the run's score."""
    config = smoke(metric="rougeL")
    folder = folder_of(config, single_arm(config), "single", tmp_path)
    assert claim(folder)
    found = execute(config, folder, NullTracker(), Place())
    release(folder)
    rows = read(folder / "samples.jsonl")
    assert found["rougeL"] == pytest.approx(sum(row["sentence_rougeL"] for row in rows) / len(rows))
    again = rescored(folder, None, [])
    assert again.rows == rows and again.found == read(folder / "scores.json")


def test_tables_and_differences_are_of_it(tmp_path: Path) -> None:
    path = write_study(tmp_path, "noise_factor", seeds=(1, 2))
    edit(path / "study.json", metric="chrf")
    found = load(path)
    text = str(tables.tabulate(found))
    assert metric_name(found) == "chrF" and "chrF (both seeds)" in text and "'BLEU'" in text
    assert load(path, metric="rougeL").metric == "rougeL" and load(path).metric == "chrf"
    (path / "study.json").unlink()
    for folder in path.iterdir():
        record = read(folder / "run.json")
        edit(folder / "run.json", config=record["config"] | {"metric": "chrf"})
    assert load(path).metric == "chrf", "runs without a study know it too"


# Text of other scripts


def chinese(path: Path, target: str = "猫狗球来去买卖上下") -> Path:
    """A corpus whose targets are of these characters, two of them for each word."""
    path.mkdir()
    for split, count in (("train", 60), ("valid", 8), ("test", 8)):
        rows = [[(3 * i + j * j) % len(target) for j in range(5)] for i in range(count)]
        (path / f"{split}.de").write_text("".join(" ".join(f"w{k}" for k in row) + "\n" for row in rows))
        (path / f"{split}.en").write_text("".join("".join(target[k] for k in row) + "\n" for row in rows), "utf-8")
    return path


def test_the_tokenizer_is_said_at_the_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = str(chinese(tmp_path / "zh"))
    options = SweepOptions(study="norm", preset="smoke", data=data, overrides=("vocab_size=300",))
    sweep, _ = sweeps.prepare(options, "sweeps.study")
    said = "BLEU counts tokens of sacreBLEU's zh: most words of the targets are Chinese"
    assert sweep.facts["scoring"] == said
    config = smoke(data=data, vocab_size=300)
    evaluator = Evaluator(prepare(config.data), config, device_for("cpu"))
    assert evaluator.bleu_tokenizer == "zh" and f"zh de-en: {said}" in capsys.readouterr().err
    references = evaluator.test.references
    assert evaluator.value("bleu", references) == pytest.approx(100)
    worse = [f"{one[:4]}上" for (one,) in references]
    assert 50 < evaluator.value("bleu", references, worse) == scores.bleu(worse, references, "zh") < 100
    named = with_values(config, {"bleu_tokenizer": "char"})
    assert Evaluator(prepare(config.data), named, device_for("cpu")).bleu_tokenizer == "char"
    plain, _ = sweeps.prepare(SweepOptions(study="norm", preset="smoke"), "sweeps.study")
    assert "scoring" not in plain.facts
    capsys.readouterr()
    Evaluator(prepare(smoke().data), smoke(), device_for("cpu"))
    assert "BLEU counts" not in capsys.readouterr().err


def test_a_metric_without_a_value_for_the_text_is_refused_at_the_start(tmp_path: Path) -> None:
    data = str(chinese(tmp_path / "emoji", "😀🎉👍🐱🐶🏀🚗🚲🚀"))
    config = smoke(data=data, vocab_size=300, metric="rougeL")
    check(config)
    with pytest.raises(UserError, match="option metric: rougeL is n/a for this text"):
        Evaluator(prepare(config.data), config, device_for("cpu"))
    assert not any(map(words, (tmp_path / "emoji" / "test.en").read_text("utf-8").split()))


def test_a_model_chooses_by_the_tokenizer_of_its_training(tmp_path: Path) -> None:
    from core import model_folder
    from core.use import load_text, train

    text = load_text(str(chinese(tmp_path / "zh")), vocab_size=300)
    options = {name: value for name, value in get("smoke").values.items() if name in flat(smoke())}
    own = {name: value for name, value in options.items() if not name.startswith("corpus_") and name != "vocab_size"}
    model = train(text, folder=tmp_path / "model", **{**own, "updates": 2, "valid_every": 2})
    assert model.bleu_tokenizer == "zh"
    assert model_folder.load(tmp_path / "model", device_for("cpu")).bleu_tokenizer == "zh"
    assert (tmp_path / "model" / run_folder.WEIGHTS).exists()
