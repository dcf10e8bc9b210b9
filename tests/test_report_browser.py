"""The report in a real browser: no network, no error, sorting, hover values, decoding steps, print, accessibility."""

import io
import itertools
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from matplotlib.image import imread

sync_api = pytest.importorskip("playwright.sync_api", reason="install playwright: pip install -r requirements.txt")
axe = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="install axe-playwright-python: pip install -r requirements.txt"
)

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="install Chromium: apt-get install chromium"),
]
QUIET = ["--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
RULES = {"runOnly": {"type": "tag", "values": TAGS}}
CONTRAST = {"runOnly": {"type": "rule", "values": ["color-contrast"]}}
"""What a dark scheme can change: nothing else than colours differs."""
NARROW, PHONE, DESKTOP = (320, 640), (390, 844), (1280, 900)
A4 = (688, 900)
"""Pixels between the margins of a sheet."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *QUIET])
        yield browser
        browser.close()


def opened(browser: Any, file: Path, size: tuple[int, int] = DESKTOP, **options: Any) -> Any:
    """The page from its file with the network off; what it asks for and complains of is kept in page.said."""
    width, height = size
    context = browser.new_context(viewport={"width": width, "height": height}, offline=True, **options)
    page = context.new_page()
    page.said = []
    page.on("console", lambda message: page.said.append(message.text))
    page.on("pageerror", lambda error: page.said.append(str(error)))
    page.on("dialog", lambda dialog: page.said.append(dialog.message))
    page.on("request", lambda request: request.url == file.as_uri() or page.said.append(request.url[:100]))
    page.goto(file.as_uri())
    return page


@pytest.fixture(scope="module")
def page(browser: Any, reported: tuple[Path, Path]) -> Iterator[Any]:
    page = opened(browser, reported[1])
    yield page
    page.context.close()


def test_it_loads_without_network_and_without_an_error(page: Any) -> None:
    asked = "What do the anchor loss, the embedding norm and the noise factor each change?"
    assert page.title() == f"{asked} (modules)" and page.locator("h1").inner_text() == asked
    assert page.locator("main > section").count() == 9
    page.locator("summary").first.click()
    page.locator("a.download").first.scroll_into_view_if_needed()
    assert page.said == []


def test_a_download_is_a_file(page: Any) -> None:
    with page.expect_download() as waiting:
        page.locator("#arms a.download").click()
    text = Path(waiting.value.path()).read_text("utf-8")
    assert waiting.value.suggested_filename == "modules-arms.csv"
    assert text.startswith("arm,label,toggle/") and len(text.splitlines()) == 9


def column(page: Any, table: str, number: int) -> list[str]:
    """The texts of a column from top to bottom."""
    return page.locator(f"{table} tbody tr > :nth-child({number})").all_inner_texts()


def test_tables_sort_by_mouse_and_keyboard(page: Any) -> None:
    before = column(page, "#arms", 1)
    head = page.locator("#arms thead th").nth(1)
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    scores = [float(text.split()[0].replace("−", "-")) for text in column(page, "#arms", 2)]
    assert scores == sorted(scores, reverse=True)
    head.locator("button").press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert [float(text.split()[0].replace("−", "-")) for text in column(page, "#arms", 2)] == scores[::-1]
    head.locator("button").press("Space")
    assert head.get_attribute("aria-sort") == "none"
    assert column(page, "#arms", 1) == before


def test_texts_sort_as_texts_and_the_undefined_comes_last(page: Any) -> None:
    heads = page.locator("#arms thead th")
    heads.first.locator("button").click()
    assert heads.first.get_attribute("aria-sort") == "ascending"
    assert column(page, "#arms", 1) == sorted(column(page, "#arms", 1))
    for order in ("descending", "ascending"):
        heads.nth(2).locator("button").click()
        assert heads.nth(2).get_attribute("aria-sort") == order
        assert heads.first.get_attribute("aria-sort") == "none"
        cells = column(page, "#arms", 3)
        numbers = [float(text.split()[0].replace("−", "-")) for text in cells[:-1]]
        assert cells[-1] == "control"
        assert numbers == sorted(numbers, reverse=order == "descending")


def logged(study: Path, run: str, metric: str) -> dict[int, float]:
    """A metric by step, from metrics.jsonl."""
    rows = map(json.loads, (study / run / "metrics.jsonl").read_text().splitlines())
    return {row["train/step"]: row[metric] for row in rows if metric in row}


def readings(page: Any) -> list[float]:
    """The cells of the readout."""
    texts = page.locator("#curve-values td[data-run]").all_inner_texts()
    return [float(text.replace("−", "-")) for text in texts]


def expected(study: Path, metric: str, step: int) -> list[float]:
    """What the cells must show, by arm and seed: the logged values in five digits."""
    runs = [(arm["name"], seed) for arm in json.loads((study / "study.json").read_text())["arms"] for seed in (1, 2, 3)]
    found = [logged(study, next(study.glob(f"{arm}-s{seed}-*")).name, metric)[step] for arm, seed in runs]
    return [float(f"{value:.5g}") for value in found]


def test_hover_touch_and_keys_show_the_logged_values(page: Any, reported: tuple[Path, Path]) -> None:
    study = reported[0]
    assert page.locator("#curve-at").inner_text() == "700"
    assert readings(page) == expected(study, "train/loss", 700)
    chart = page.locator(".curve.chosen .chart")
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"])
    step = int(page.locator("#curve-at").inner_text())
    assert 200 < step < 500
    assert readings(page) == expected(study, "train/loss", step)
    assert page.locator(".curve.chosen .point").count() == 24
    page.select_option("#curve-metric", "val/bleu")
    slider = page.locator("#curve-step")
    slider.press("ArrowLeft")
    assert slider.get_attribute("aria-valuetext") == "step 400"
    assert readings(page) == expected(study, "val/bleu", 400)
    assert page.locator(".curve:visible").count() == 1


def lines_of(page: Any) -> list[str]:
    """The paths drawn in the chosen chart."""
    return page.locator(".curve.chosen .line").evaluate_all("all => all.map((each) => each.getAttribute('d'))")


def marks(page: Any) -> list[str]:
    """The ticks of the chosen chart."""
    return page.locator(".curve.chosen .axes text").all_text_contents()


def test_the_script_draws_what_the_page_has(browser: Any, reported: tuple[Path, Path]) -> None:
    """Scales, ticks and lines are written twice, in Python for paper, and in the script."""
    still, alive = opened(browser, reported[1], java_script_enabled=False), opened(browser, reported[1])
    names = alive.locator("#curve-metric option").evaluate_all("all => all.map((each) => each.value)")
    for name in names:
        alive.select_option("#curve-metric", name)
        figure = f".curve[data-metric='{name}']"
        for what in (".axes text", ".lines path", ".axes line"):
            told = "all => all.map((each) => each.getAttribute('d') || each.textContent || each.getAttribute('y1'))"
            drawn, redrawn = (page.locator(f"{figure} {what}").evaluate_all(told) for page in (still, alive))
            if what == ".axes line":
                drawn, redrawn = ([round(float(value), 1) for value in values] for values in (drawn, redrawn))
            assert len(drawn) == len(redrawn) > 0
            numbers = [re.findall(r"[\d.]+", " ".join(map(str, each))) for each in (drawn, redrawn)]
            assert [float(x) for x in numbers[0]] == pytest.approx([float(x) for x in numbers[1]], abs=0.21), name
    still.context.close()
    alive.context.close()


def test_curves_are_smoothed_and_on_either_axis(page: Any) -> None:
    page.select_option("#curve-metric", "train/nll")
    raw = lines_of(page)
    assert len(raw) == 24 and not page.locator("#curve-log").is_checked()
    page.locator("#curve-log").check()
    assert lines_of(page) != raw and "(logarithmic)" in page.locator(".curve.chosen h3").inner_text()
    assert "5" in marks(page) and "0" not in marks(page)
    page.locator("#curve-log").uncheck()
    assert lines_of(page) == raw
    page.locator("#curve-smooth").fill("0.9")
    assert page.locator("#curve-smoothed").inner_text() == "0.90"
    assert lines_of(page)[:24] == raw and page.locator(".curve.chosen .line.faint").count() == 24
    heights = [re.findall(r" ([\d.]+)", line) for line in (raw[0], lines_of(page)[24])]
    jumps = [sum(abs(float(b) - float(a)) for a, b in itertools.pairwise(h)) for h in heights]
    assert jumps[1] < 0.9 * jumps[0], "it wiggles less"
    page.locator("#curve-smooth").fill("0")
    assert lines_of(page) == raw


def test_an_arm_is_taken_out_everywhere(page: Any) -> None:
    page.select_option("#curve-metric", "train/loss")
    row = page.locator("#curve-values tr", has_text="anchor · norm · F4")
    row.locator("input").uncheck()
    assert len(lines_of(page)) == 21 and "off" in row.get_attribute("class")
    assert page.locator("#sample-view .outputs > li").count() == 7
    assert not page.locator("#sample-controls input[data-arm='0']").is_checked()
    page.locator("#sample-controls button[data-pick='no']").click()
    assert lines_of(page) == [] and "No arm is chosen" in page.locator("#sample-view").inner_text()
    page.locator("#sample-controls input[data-arm='2']").check()
    assert len(lines_of(page)) == 3 and page.locator("#sample-view .outputs > li").count() == 1
    page.locator("#curves button[data-pick='all']").click()
    assert len(lines_of(page)) == 24 and page.locator("#sample-view .outputs > li").count() == 8


def sample(study: Path, arm: str, seed: int, number: int) -> dict[str, Any]:
    """A row of samples.jsonl."""
    (path,) = study.glob(f"{arm}-s{seed}-*/samples.jsonl")
    found: dict[str, Any] = json.loads(path.read_text().splitlines()[number])
    return found


def test_samples_of_any_seed_with_their_decoding_and_differences(page: Any, reported: tuple[Path, Path]) -> None:
    first = page.locator("#sample-view .outputs > li").first
    for seed, number in ((1, 29), (3, 4)):
        page.select_option("#sample-seed", str(seed))
        assert page.locator(".sentence:visible h3").inner_text().endswith(f", seed {seed}")
        page.select_option("#sentence", str(number))
        row = sample(reported[0], "anchor+norm+F4", seed, number)
        assert page.locator(".sentence:visible h3").all_inner_texts() == [f"Sentence {number}, seed {seed}"]
        assert page.locator("#sample-view .pair dd").all_inner_texts() == [row["source"], row["reference"]]
        for i, step in enumerate(row["trajectory"]):
            assert first.locator(".now .text").inner_text() == step["text"]
            assert f"{i + 1} of " in page.locator("#decoding-at").inner_text()
            assert f"t = {step['t']:,}" in first.locator(".now").inner_text()
            assert first.locator(".now mark").count() == (1 if i else 0)
            page.locator("#decoding").press("ArrowRight")
        kept = [word for word in row["hypothesis"].split() if word in row["reference"].split()]
        lacking = [word for word in row["reference"].split() if word not in kept]
        assert first.locator(".final del").inner_text().split() == lacking
        assert "".join(first.locator(".final ins").all_inner_texts()).split() == row["hypothesis"].split()[len(kept) :]
        page.locator("#marked").uncheck()
        assert first.locator(".final .text").inner_text() == row["hypothesis"]
        page.locator("#marked").check()


def test_samples_are_ordered_by_sentence_bleu(page: Any, reported: tuple[Path, Path]) -> None:
    page.select_option("#sample-seed", "2")
    page.locator("#sample-controls button[data-pick='no']").click()
    page.locator("#sample-controls input[data-arm='5']").check()
    scores = {i: sample(reported[0], "rounding+norm+F1", 2, i)["sentence_bleu"] for i in range(30)}
    for order, back in (("low", False), ("high", True)):
        page.select_option("#sample-order", order)
        options = page.locator("#sentence option").evaluate_all("all => all.map((each) => Number(each.value))")
        assert sorted(options) == list(range(30))
        assert [scores[i] for i in options] == sorted(scores.values(), reverse=back)
        assert page.locator("#sample-view h3").inner_text() == f"Sentence {options[0]}, seed 2"
        page.locator("#sentence-next").click()
        assert page.locator("#sample-view h3").inner_text() == f"Sentence {options[1]}, seed 2"
        page.locator("#sentence-previous").click()
        assert page.locator("#sentence-previous").is_disabled()
    page.select_option("#sample-order", "place")
    page.locator("#sample-controls button[data-pick='all']").click()


def test_run_folders_are_links_from_the_file(browser: Any, reported: tuple[Path, Path], tmp_path: Path) -> None:
    from analysis.load import load
    from analysis.report.__main__ import write
    from analysis.report.page import page as made

    study = load(reported[0])
    page = opened(browser, write(made(study, tmp_path / "out"), tmp_path / "out"))
    link = page.locator("#provenance a.folder").first
    assert link.evaluate("each => each.href").startswith(f"{reported[0].resolve().as_uri()}/anchor")
    page.context.close()


DARKEST = 90
"""Mean of red, green and blue below which a picture is dark."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_charts_and_figures_follow_the_scheme(browser: Any, reported: tuple[Path, Path], scheme: str) -> None:
    page = opened(browser, reported[1], color_scheme=scheme)
    for selector in (".curve.chosen .paper", "#figure-ablation + figure .paper"):
        image = imread(io.BytesIO(page.locator(selector).first.screenshot()))[..., :3] * 255
        assert (image.mean() < DARKEST) == (scheme == "dark"), selector
        assert image.max() - image.min() > 150, "and there is something to see"
    page.context.close()


@pytest.mark.parametrize("width", [320, 360, 390])
def test_figures_fit_a_phone(browser: Any, reported: tuple[Path, Path], width: int) -> None:
    page = opened(browser, reported[1], (width, 700))
    boxes = page.evaluate(
        "[...document.querySelectorAll('figure svg')].map((svg) => svg.getBoundingClientRect())"
        ".filter((box) => box.width).map((box) => [box.left, box.right])"
    )
    assert len(boxes) == 7, "six figures and a chart"
    assert all(0 <= left < right <= width for left, right in boxes)
    page.context.close()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with every kind of part, but few of each: the checker looks at every element of the page."""
    from fake_runs import edit, write_study

    from analysis.load import load
    from analysis.report.__main__ import write
    from analysis.report.page import page

    study = write_study(tmp_path_factory.mktemp("runs"), "token_loss", seeds=(1, 2))
    runs = sorted(study.glob("*/run.json"))
    edit(runs[0], state="failed", reason="disk full")
    edit(runs[3], outcome="diverged")
    for run in runs:
        (run.parent / "probes.npz").unlink()
        rows = (run.parent / "samples.jsonl").read_text().splitlines(keepends=True)
        (run.parent / "samples.jsonl").write_text("".join(rows[:2]))
    return write(page(load(study)), tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def awkward(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with a very long name of an arm, a reason of many lines, and figures of a column's width."""
    from fake_runs import edit, write_study

    from analysis.load import load
    from analysis.report.__main__ import write
    from analysis.report.page import page

    study = write_study(tmp_path_factory.mktemp("runs"), "token_loss", seeds=(1, 2))
    arms = json.loads((study / "study.json").read_text())["arms"]
    edit(study / "study.json", arms=[arm | {"label": f"{arm['label']} {'W' * 80}"} for arm in arms])
    reason = "\n".join(f"line {i} of a traceback that says more than anyone wants to know" for i in range(9))
    edit(next(study.glob("rounding-s1-*/run.json")), state="failed", reason=reason)
    return write(page(load(study)), tmp_path_factory.mktemp("awkward"))


@pytest.mark.parametrize("size", [NARROW, PHONE, DESKTOP], ids=["narrow", "phone", "desktop"])
def test_long_texts_leave_room_for_numbers(browser: Any, awkward: Path, size: tuple[int, int]) -> None:
    """The first column stands still while the others scroll, so it may not fill the table."""
    page = opened(browser, awkward, size)
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    for table in ("#arms", "#effects", "#curves", "#failures"):
        first = page.locator(f"{table} tbody th").first.bounding_box()["width"]
        box = page.locator(f"{table} .scroll:has(tbody th)").first.bounding_box()["width"]
        assert first <= 0.62 * box, table
    reason = page.locator("#failures td", has_text="line 8 of")
    assert reason.bounding_box()["width"] <= max(720, size[0])
    assert reason.inner_text().count("\n") == 8
    page.context.close()


def test_figures_have_one_scale(browser: Any, awkward: Path) -> None:
    """One of a column's width is not blown up to a page's: letters have the same size in all."""
    page = opened(browser, awkward, DESKTOP)
    scales = page.evaluate(
        "[...document.querySelectorAll('figure .scroll .paper svg')]"
        ".map((svg) => svg.getBoundingClientRect().width / svg.viewBox.baseVal.width)"
    )
    assert len(scales) == 6
    assert max(scales) <= 1.05 * min(scales)
    page.context.close()


@pytest.mark.parametrize("size", [NARROW, PHONE, DESKTOP], ids=["narrow", "phone", "desktop"])
def test_it_fits_any_width(browser: Any, reported: tuple[Path, Path], size: tuple[int, int]) -> None:
    page = opened(browser, reported[1], size)
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_it_passes_the_accessibility_checker(browser: Any, small: Path, size: tuple[int, int], scheme: str) -> None:
    page = opened(browser, small, size, color_scheme=scheme)
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(251, 250, 247)"
    assert dark == (scheme == "dark")
    page.add_style_tag(content=".scroll { background: var(--card) !important }")  # shadows hide the colours from axe
    found = axe.Axe().run(page, options=RULES if scheme == "light" else CONTRAST)
    problems = {v["id"]: [node["html"][:200] for node in v["nodes"][:3]] for v in found.response["violations"]}
    assert problems == {}
    assert len(found.response["passes"]) > (20 if scheme == "light" else 0)
    assert page.said == []
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_prints_all_there_is_in_black_on_white(
    browser: Any, reported: tuple[Path, Path], scheme: str, tmp_path: Path
) -> None:
    page = opened(browser, reported[1], A4, color_scheme=scheme)
    pdf = page.pdf(path=tmp_path / "report.pdf", format="A4")
    assert pdf.startswith(b"%PDF") and 5 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 20
    assert page.locator("details.common[open]").count() == 1
    page.emulate_media(media="print", color_scheme=scheme)
    assert len(page.locator("main > section > h2:visible").all_inner_texts()) == 9
    assert page.locator(".curve:visible").count() == page.locator(".curve").count() > 5
    assert page.locator(".sentence:visible").count() == 12
    assert not page.locator(".controls:visible, nav:visible, .data:visible").count()
    assert page.evaluate("document.documentElement.scrollWidth") <= A4[0]
    colors = "getComputedStyle(each).color + ' on ' + getComputedStyle(each).backgroundColor"
    badges = page.evaluate(f"[...new Set([...document.querySelectorAll('.verdict')].map((each) => {colors}))]")
    assert all(re.match(r"rgb\((\d|[1-9]\d), .* on rgba\(0, 0, 0, 0\)", each) for each in badges), badges
    broken = """[...document.querySelectorAll('#runs ~ .scroll td.number, #arms td.number')].filter((cell) => {
      const range = document.createRange(); range.selectNodeContents(cell);
      return new Set([...range.getClientRects()].map((box) => Math.round(box.top))).size > 2;
    }).map((cell) => cell.textContent)"""
    assert page.evaluate(broken) == []
    heights = "[...document.querySelectorAll('.scroll')].map((each) => getComputedStyle(each).maxHeight)"
    assert set(page.evaluate(heights)) == {"none"}, "a long list is not cut off"
    small = page.evaluate("parseFloat(getComputedStyle(document.querySelector('.note')).fontSize)")
    assert small <= page.evaluate("parseFloat(getComputedStyle(document.querySelector('.claim > p')).fontSize)")
    page.context.close()


def test_everything_can_be_read_without_javascript(browser: Any, reported: tuple[Path, Path]) -> None:
    page = opened(browser, reported[1], java_script_enabled=False)
    assert page.locator(".sentence:visible").count() == page.locator(".sentence").count() == 12
    assert page.locator(".curve:visible").count() == page.locator(".curve").count()
    assert not page.locator(".controls:visible").count()
    assert page.locator(".steps li").count() > 100
    page.context.close()


def test_hostile_text_does_nothing_in_a_browser(browser: Any, tmp_path: Path) -> None:
    from test_report import poisoned

    from analysis.load import load
    from analysis.report.__main__ import write
    from analysis.report.page import page as made

    study = poisoned(tmp_path / "runs")
    for file in study.glob("*/probes.npz"):
        file.unlink()
    page = opened(browser, write(made(load(study)), tmp_path / "out"), PHONE)
    assert page.evaluate("window.hacked") is None
    assert page.locator(".sentence:visible").count() == 1
    page.locator("#decoding").press("ArrowRight")
    page.mouse.move(100, 100)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
    assert page.said == []
    page.context.close()
