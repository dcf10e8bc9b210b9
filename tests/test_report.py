"""The report as text: whole for any study, safe with any text, the same bytes from the same runs, right numbers."""

import base64
import hashlib
import json
import math
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from fake_runs import edit, write_study
from hypothesis import given
from hypothesis import strategies as st

from analysis.load import load
from analysis.report import chart, html_tables, themes
from analysis.report.__main__ import write
from analysis.report.alt_text import describe
from analysis.report.differences import ADDED, MISSING, SAME, differences
from analysis.report.html import data_uri, escape, script_data, spell_out, tag
from analysis.report.inline_svg import inline
from analysis.report.page import page
from analysis.report.sections import curves, samples
from analysis.report.sections.failures import failures_section
from analysis.report.sections.header import headline
from analysis.report.sections.tuned import search_of
from core.errors import UserError

ROOT = Path(__file__).parents[1]
HOSTILE = (
    '</script><script>window.hacked = 1</script><img src="x" onerror="window.hacked = 1">'
    '"\' onmouseover="window.hacked = 1" javascript:1 --> ]]> $\\frac{$ '
    "\u2028\u2029 \u202eback\u2066 \x00\x1b[31m \ud800"
)
SECTIONS = ["verdicts", "arms", "effects", "figures", "curves", "samples", "failures", "reading", "provenance"]


class Page(HTMLParser):
    """What a browser would make of the page: elements with their attributes, and the text of each script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.scripts: list[str] = []
        self.text: list[str] = []
        self._in_script = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))
        self._in_script = tag == "script"

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False

    def handle_data(self, data: str) -> None:
        (self.scripts if self._in_script else self.text).append(data)

    def all(self, name: str) -> list[dict[str, str]]:
        return [attributes for tag, attributes in self.elements if tag == name]

    @property
    def ids(self) -> list[str]:
        return [attributes["id"] for _, attributes in self.elements if "id" in attributes]


@pytest.fixture(scope="module")
def modules(reported: tuple[Path, Path]) -> Path:
    return reported[0]


@pytest.fixture(scope="module")
def made(reported: tuple[Path, Path]) -> str:
    return reported[1].read_text("utf-8")


def poisoned(root: Path) -> Path:
    """A study in which every text that comes from data is hostile."""
    path = write_study(root, "token_loss", seeds=(1, 2))
    info = json.loads((path / "study.json").read_text())
    for arm in info["arms"]:
        arm["label"] = f"{arm['label']} {HOSTILE}"
    edit(path / "study.json", arms=info["arms"], question=HOSTILE, banner=HOSTILE, command=HOSTILE, tuning=HOSTILE)
    runs = sorted(path.glob("*/run.json"))
    for run in runs:
        record = json.loads(run.read_text())
        data = record["data"] | {"name": HOSTILE, "tokenizer": HOSTILE, "dropped": {HOSTILE: 1}}
        config = record["config"] | {"data": HOSTILE, HOSTILE: HOSTILE}
        edit(
            run, data=data, config=config, device=HOSTILE, commit=HOSTILE, command=HOSTILE, versions={"torch": HOSTILE}
        )
        row = {"id": 0, "source": HOSTILE, "reference": HOSTILE, "hypothesis": HOSTILE, "sentence_bleu": 1.0}
        row["trajectory"] = [{"t": 4.0, "text": HOSTILE}, {"t": 3.0, "text": HOSTILE + " x"}]
        (run.parent / "samples.jsonl").write_text(json.dumps(row) + "\n")
    edit(runs[0], state="failed", reason=HOSTILE)
    edit(runs[3], outcome=HOSTILE)
    shutil.copytree(runs[1].parent, path / "<b onclick=hacked>'\"& s")
    return path


def test_the_page_is_whole_and_holds_every_section(made: str) -> None:
    parsed = Page(made)
    assert [a["id"] for a in parsed.all("section")] == SECTIONS
    links = [a["href"][1:] for a in parsed.all("a") if a["href"].startswith("#")]
    assert len(links) > 40
    assert set(links) <= set(parsed.ids)
    assert len(set(parsed.ids)) == len(parsed.ids)
    named = [a.get("aria-labelledby", "") for _, a in parsed.elements] + [a.get("for", "") for _, a in parsed.elements]
    assert {each for each in named if each} <= set(parsed.ids)


def test_nothing_in_the_page_leads_to_a_network(made: str) -> None:
    parsed = Page(made)
    policy = next(a["content"] for a in parsed.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    code = [text for text, a in zip(parsed.scripts, parsed.all("script"), strict=True) if "type" not in a]
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in code]
    assert re.findall(r"'sha256-([^']+)'", policy) == hashes
    assert len(hashes) == 2
    targets = [a[key] for _, a in parsed.elements for key in ("href", "src", "action", "xlink:href") if key in a]
    assert all(target.startswith(("#", "data:text/csv;")) for target in targets)
    assert "@import" not in made and not re.search(r"url\((?!#)", made)
    assert set(re.findall(r"https?://[^\"'<> ]+", made)) == {"http://www.w3.org/2000/svg"}


@pytest.mark.slow
def test_hostile_text_stays_text(tmp_path: Path) -> None:
    made = page(load(poisoned(tmp_path)))
    parsed = Page(made)
    assert len(parsed.all("script")) == 4
    assert not parsed.all("img") and not parsed.all("b")
    assert not [a for _, a in parsed.elements if any(key.startswith("on") for key in a)]
    assert not re.search(r"[\x00\x1b\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]", made)
    text = "".join(parsed.text)
    assert text.count("</script><script>window.hacked = 1</script><img") > 20
    assert "⟨U+202E⟩back⟨U+2066⟩" in text
    assert "\ufffd" in text, "half a surrogate pair, as it is read"
    json.loads(parsed.scripts[1])
    shown = json.dumps(json.loads(parsed.scripts[2]), ensure_ascii=False)
    assert "⟨U+202E⟩back" in shown and not re.search(r"[\u2028\u202a-\u202e\ud800-\udfff]", shown), "for the script too"
    made.encode("utf-8")
    linked = page(load(poisoned(tmp_path / "again")), tmp_path / "out")
    targets = [a["href"] for a in Page(linked).all("a") if not a["href"].startswith(("#", "data:"))]
    assert targets and all(re.fullmatch(r"\./[\w./%~+-]+", target) for target in targets), targets


@given(st.text())
def test_escaped_text_reads_as_it_was(text: str) -> None:
    parsed = Page(tag("p", text, title=text))
    assert parsed.elements[0][1]["title"] == spell_out(text)
    assert "".join(parsed.text) == spell_out(text)
    assert set(escape(text)).isdisjoint("<>\"'\u2028\u202e")
    block = script_data({"x": text}, "d")
    assert json.loads(re.sub(r"^<script[^>]*>|</script>$", "", block)) == {"x": text}
    assert not set(block[len('<script type="application/json" id="d">') : -len("</script>")]) & set("<>&\u2028")


def test_script_data_refuses_what_is_no_json() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        script_data([math.nan], "d")


@pytest.mark.slow
def test_the_command_gives_the_same_bytes_in_every_process(tmp_path: Path) -> None:
    study, out = write_study(tmp_path, "token_loss", seeds=(1, 2)), tmp_path / "out"
    for probes in study.glob("*/probes.npz"):  # that figures are redrawn identically is tested with them
        probes.unlink()
    command = [sys.executable, "-m", "analysis.report", str(study), "--out", str(out)]
    env = os.environ | {"PYTHONHASHSEED": "3"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"wrote {out}/index.html (")
    assert [file.name for file in out.iterdir()] == ["index.html"]
    assert (out / "index.html").read_bytes() == page(load(study), out).encode()


def test_wrong_use_gives_one_message(tmp_path: Path) -> None:
    def run(*arguments: object) -> str:
        command = [sys.executable, "-m", "analysis.report", *map(str, arguments)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 2 and "Traceback" not in done.stderr
        return done.stderr

    assert run(tmp_path / "nothing").startswith("error: no study folder")
    study = write_study(tmp_path, "token_loss", seeds=(1,))
    for record in study.glob("*/run.json"):
        edit(record, state="failed", reason="out of memory")
    message = run(study, "--out", tmp_path / "out")
    assert "no result" in message and "4 failed" in message and "out of memory" in message
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/index.html cannot be written: .*--out"):
        write("text", tmp_path / "file")


@pytest.mark.slow
def test_twelve_arms_with_one_seed_have_a_report(tmp_path: Path) -> None:
    study = write_study(tmp_path, "many", seeds=(1,))
    for probes in study.glob("*/probes.npz"):  # their figures are drawn with many arms elsewhere
        probes.unlink()
    made = page(load(study))
    assert [a["id"] for a in Page(made).all("section")] == SECTIONS[1:], "it varies nothing that a claim is about"
    assert len(made) < 3e6


def test_a_study_with_nothing_but_scores_has_a_report(tmp_path: Path) -> None:
    path = write_study(tmp_path, "token_loss", seeds=(1,))
    for name in ("probes.npz", "samples.jsonl", "metrics.jsonl"):
        for file in path.glob(f"*/{name}"):
            file.unlink()
    for scores in path.glob("*/scores.json"):
        edit(scores, by_steps=[])
    (path / "study.json").unlink()
    made = page(load(path))
    assert [a["id"] for a in Page(made).all("section")] == SECTIONS
    assert made.count(": left out, no run ") == 5
    assert "No run has samples" in made and "No run has a readable metrics.jsonl" in made


def test_failed_diverged_and_missing_runs_are_listed_with_reasons(tmp_path: Path) -> None:
    path = write_study(tmp_path, "token_loss", seeds=(1, 2))
    for probes in path.glob("*/probes.npz"):
        probes.unlink()
    runs = sorted(path.glob("*/run.json"))
    edit(runs[0], state="failed", reason="disk full")
    edit(runs[2], outcome="diverged")
    shutil.rmtree(runs[4].parent)
    made = page(load(path))
    part = made[made.index('<section id="failures"') : made.index('<section id="reading"')]
    assert "failed: disk full" in part and "diverged" in part and f"<li>{runs[4].parent.name}</li>" in part
    assert "6 of 8" in made


def test_cells_sort_by_their_numbers() -> None:
    cells = ["79.2 [74.4, 84.0]", "−27.5 [−63.4, +8.4]", "<0.001", "about 5", "[+27.0, +35.1]", "1,234", "1e-05", "✓"]
    assert [html_tables.leading_number(cell) for cell in cells] == [79.2, -27.5, 0.001, 5, 27, 1234, 1e-05, None]
    assert html_tables.is_numeric(["1.0", "n/a", "control", "−2"])
    assert not html_tables.is_numeric(["✓", "–"]) and not html_tables.is_numeric(["n/a", ""])


def test_curves_are_thinned_evenly_with_both_ends() -> None:
    steps = np.arange(10, 10_010, 10)
    frame = pd.DataFrame({"run": "a", "train/step": steps, "x": steps / 7})
    kept = curves.thin(frame, "x")
    assert len(kept) == curves.POINTS
    assert (kept.index[0], kept.index[-1]) == (10, 10_000)
    assert set(np.diff(kept.index)) == {100, 110}
    assert (kept["a"] == kept.index / 7).all()


def test_scales_hold_all_values_and_ticks_are_round() -> None:
    axes = chart.scale([chart.Line("red", "", [(0, 1.0), (100, 90.0), (200, math.nan)])], log=False)
    assert axes.x == (0, 100) and axes.y[0] == 0 and axes.y[1] > 90
    assert chart.ticks(0, 95) == [0, 20, 40, 60, 80]
    assert chart.log_ticks(0.02, 3) == [0.02, 0.05, 0.1, 0.2, 0.5, 1, 2]
    left, bottom = axes.at(0, 0)
    assert (left, bottom) == (chart.LEFT, chart.HEIGHT - chart.BOTTOM)
    assert chart.scale([chart.Line("red", "", [(1, 0.01), (2, 1.0)])], log=True).log
    assert not chart.scale([chart.Line("red", "", [(1, 0.0), (2, 1.0)])], log=True).log


def test_figures_side_by_side_do_not_share_ids() -> None:
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 1 1">'
        '<metadata/><style>*{color:red}</style><g id="unused"><path id="p" d="M 1.234567 2"/>'
        '<use xlink:href="#p" clip-path="url(#c)"/><clipPath id="c"/></g></svg>'
    )
    made = inline(svg, "one", "Title & more", "Text <b>")
    ElementTree.fromstring(made)
    assert 'id="one-p" d="M 1.2346 2"' in made
    assert 'style="--share:0.5"' in inline(svg.replace("0 0 1 1", "0 0 248.4 1"), "one", "", "")
    assert 'href="#one-p" clip-path="url(#one-c)"' in made
    assert "unused" not in made and "<style" not in made and "metadata" not in made
    assert "<title id=" in made and "Title &amp; more</title>" in made and "Text &lt;b&gt;</desc>" in made


def test_alternative_texts_are_made_of_the_numbers() -> None:
    frame = pd.DataFrame(
        {"metric": "mse", "label": ["A", "A", "B", "B"], "t": [0, 10, 10, 0], "mean": [1, 2, 3, 4.56789]}
    )
    text = describe("per_step", frame)
    assert "mse from t = 0 to t = 10: A 1 to 2; B 4.568 to 3." in text
    scores = {"kind": ["arm", "main"], "label": ["A", "anchor"], "estimate": [50.0, -3.0]}
    frame = pd.DataFrame(scores | {"low": [40.0, math.nan], "high": [60.0, math.nan]})
    assert "Mean score: A 50, interval 40 to 60. Effects: anchor −3." in describe("ablation", frame)


def test_samples_are_those_that_all_arms_share(modules: Path) -> None:
    read = samples.read_samples(load(modules))
    assert read is not None
    assert (read.seed, read.total, sorted(read.rows), len(read.own)) == (1, 30, [1, 2, 3], 8)
    assert (len(read.ids), read.ids[0], read.ids[-1]) == (samples.SENTENCES, 0, 29)
    assert read.more == list(range(30))
    some = samples.choose(list(range(400)), list(range(20)))
    assert (len(some), sum(i < 20 for i in some), some[-1]) == (12, 8, 399)
    assert samples.choose(list(range(400)), []) == samples.spread(list(range(400)), 12)
    assert samples.mark_changes(["a", "b", "c"], ["a", "x"]) == "a <mark>b</mark> <mark>c</mark>"
    assert samples.mark_changes(["a"], None) == "a"


def test_samples_of_many_and_long_texts_stay_small(modules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "CHARACTERS", 120_000)
    read = samples.read_samples(load(modules))
    assert read is not None and set(read.ids) < set(read.more) < set(range(30))
    monkeypatch.setattr(samples, "CHARACTERS", 0)
    read = samples.read_samples(load(modules))
    assert read is not None and read.more == read.ids


def test_a_seed_with_other_sentences_is_left_out(tmp_path: Path) -> None:
    study = write_study(tmp_path, "token_loss", seeds=(1, 2, 3))
    for run in study.glob("*-s2-*"):
        rows = [json.loads(line) for line in (run / "samples.jsonl").read_text().splitlines()]
        (run / "samples.jsonl").write_text("".join(json.dumps(row | {"source": "other"}) + "\n" for row in rows))
    read = samples.read_samples(load(study))
    assert read is not None and sorted(read.rows) == [1, 3] and read.total == 30


@given(st.text(alphabet="ab cd\n", max_size=40), st.text(alphabet="ab cd", max_size=40))
def test_differences_are_of_the_output_and_of_the_reference(output: str, reference: str) -> None:
    parts = differences(output, [reference])
    assert "".join(part.text for part in parts if part.kind != MISSING) == output
    kept = "".join(part.text for part in parts if part.kind != ADDED).split()
    assert kept == reference.split() or any(part.kind == SAME for part in parts)
    assert [part.kind for part in differences(output, [output])] == [SAME] * bool(output)


@pytest.mark.parametrize(
    ("output", "reference", "marked"),
    [
        ("the cat sat .", "the dog sat down .", "the [dog ]{cat }sat [down ]."),
        ("", "all gone", "[all gone]"),
        ("chi", "chi zi wu", "chi[ zi wu]"),
        ("我爱北京", "我不爱上海", "我[不]爱[上海]{北京}"),
        ("กินข้าว", "กินน้ำ", "กิน[น้ำ]{ข้าว}"),
        ("same", "same", "same"),
    ],
)
def test_differences_go_by_words_or_by_signs(output: str, reference: str, marked: str) -> None:
    brackets = {SAME: "{}", ADDED: "{{{}}}", MISSING: "[{}]"}
    found = "".join(brackets[part.kind].format(part.text) for part in differences(output, [reference]))
    assert found == marked


@pytest.mark.parametrize(
    ("t", "shown"),
    [(1999, "t = 1,999"), (0.30000000000000004, "t = 0.3"), (1.0, "t = 1"), (None, "t = ?"), (math.nan, "t = ?")],
)
def test_times_that_are_shares_are_shown(t: object, shown: str) -> None:
    """Of masked and of continuous noise."""
    assert samples.step_time({"t": t, "text": ""}) == shown


def test_a_page_with_notes_alone_says_that_nothing_failed(tmp_path: Path) -> None:
    study = load(write_study(tmp_path, "modules", seeds=(1,)))
    said = failures_section(replace(study, notes=("two arms differ in dropout",))).body
    assert "every planned run finished" in said and "two arms differ in dropout" in said


def test_differences_of_endless_output_take_no_time() -> None:
    assert differences("la " * 100_000, ["a b c"]) == [(SAME, "la " * 100_000)]


def test_of_several_references_all_stand_there_and_the_nearest_counts(tmp_path: Path) -> None:
    study = write_study(tmp_path, "token_loss", seeds=(1,))
    for file in study.glob("*/samples.jsonl"):
        row = {"id": 0, "source": "s", "reference": "far away", "references": ["far away", "a big cat"]}
        file.write_text(json.dumps(row | {"hypothesis": "a cat", "sentence_bleu": 1.0}) + "\n")
    made = samples.samples_section(load(study)).body
    assert '<dd dir="auto">far away</dd><dt>reference</dt><dd dir="auto">a big cat</dd>' in made
    assert "a <del>big </del>cat</span>" in made
    assert '"sentences":[[0,"s",["far away","a big cat"]]]' in made and '["=a ","-big ","=cat"]' in made


def test_the_title_asks_and_run_folders_are_links_with_dates(modules: Path, tmp_path: Path) -> None:
    study = load(modules)
    made = page(study, tmp_path / "deep" / "out")
    folders = [a["href"] for a in Page(made).all("a") if a.get("class") == "folder"]
    assert len(folders) == 24
    for href in folders:
        assert (tmp_path / "deep" / "out" / unquote(href)).resolve().parent == modules.resolve()
        assert (Path(os.path.normpath(tmp_path / "deep" / "out" / unquote(href))) / "run.json").exists()
    assert "<bdi>What do the anchor loss, the embedding norm and the noise factor each change?</bdi></h1>" in made
    assert ">run: <bdi>2026-11-20</bdi>" in made and "2026-11-20 10:00" in made
    asked = replace(study, info=study.info | {"question": "What <b>helps</b>?"})
    assert "<h1><bdi>What &lt;b&gt;helps&lt;/b&gt;?</bdi></h1>" in page(asked)
    assert headline(replace(study, factors={"noise_factor": [1, 4]})) == "What does the noise factor change?"
    assert headline(replace(study, factors={})) == "How do 8 arms of modules compare?"


def test_every_colour_has_one_for_the_dark(made: str) -> None:
    used = set(re.findall(r"var\(--k([0-9a-f]{6}),", made))
    (scheme,) = re.findall(r"@media screen and \(prefers-color-scheme: dark\)\{:root\{(--k.*?)\}\}", made)
    assert {"000000", "ffffff", "0072b2"} <= used == set(re.findall(r"--k(\w{6}):", scheme))
    assert not re.search(r"(?:fill|stroke)(?:=\"|: ?)#", made.split("</style>", 1)[1]), "none is left as it is"
    assert (themes.dark("000000"), themes.dark("808080")) == ("#ededed", "#878787")
    assert themes.themed("stroke:#0072B2;x:url(#a)") == "stroke:var(--k0072b2,#0072b2);x:url(#a)"


def test_of_many_runs_curves_have_fewer_points(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    study = load(write_study(tmp_path, "token_loss", seeds=(1, 2)))
    monkeypatch.setattr(curves, "VALUES", 8 * 11 * 20)
    assert "At most 20 of up to 35 logged steps are drawn." in curves.curves_section(study).body


def test_of_many_runs_the_page_holds_means_over_seeds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    study = load(write_study(tmp_path, "token_loss", seeds=(1, 2)))
    monkeypatch.setattr(curves, "DOWNLOADED", 100)
    body = curves.curves_section(study).body
    (kept,) = [a["href"] for a in Page(body).all("a") if a.get("download") == "token_loss-training-curves.csv"]
    rows = base64.b64decode(kept.split(",")[1]).decode().splitlines()
    steps = study.metrics["train/step"].nunique()
    assert len(rows) == 1 + steps * len(study.arms) and "Means over the seeds" in body
    first = dict(zip(rows[0].split(","), rows[1].split(","), strict=True))
    same = study.metrics[
        (study.metrics["arm"] == first["arm"]) & (study.metrics["train/step"] == int(first["train/step"]))
    ]
    assert float(first["train/loss"]) == pytest.approx(same["train/loss"].mean())


def test_downloads_hold_what_was_measured(made: str, modules: Path) -> None:
    study = load(modules)
    files = {a["download"]: a["href"] for a in Page(made).all("a") if "download" in a}
    assert "modules-arms.csv" in files and "modules-ablation.csv" in files and len(files) == 11
    text = base64.b64decode(files["modules-runs.csv"].split(",")[1]).decode()
    rows = [line.split(",")[0] for line in text.splitlines()[1:]]
    assert [row for row in rows if row in study.records] == list(study.scores["run"])
    assert data_uri("a").endswith("YQ==")


def test_a_search_is_found_beside_its_study(tmp_path: Path) -> None:
    for name in ("modules", "modules-tuned", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "modules-search").mkdir()
    search = {"default": "modules", "tuned": "modules-tuned", "arms": []}
    (tmp_path / "modules-search" / "search.json").write_text(json.dumps(search))
    found = {p.name for p in tmp_path.iterdir() if search_of(p) is not None}
    assert found == {"modules", "modules-tuned", "modules-search"}
