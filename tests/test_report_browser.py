"""The report in a real browser: no network, no error, sorting, hover values, decoding steps, print, accessibility."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

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
    assert page.title() == "Ablation report: modules"
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


def test_the_slider_steps_through_a_decoding(page: Any, reported: tuple[Path, Path]) -> None:
    page.select_option("#sentence", "sentence-29")
    row = json.loads(next(reported[0].glob("anchor+norm+F4-s1-*/samples.jsonl")).read_text().splitlines()[29])
    first = page.locator("#sentence-29 .outputs > li").first
    assert page.locator(".sentence:visible").count() == 1
    assert page.locator("#sentence-29 .pair dd").all_inner_texts() == [row["source"], row["reference"]]
    for i, step in enumerate(row["trajectory"]):
        assert first.locator(".now .text").inner_text() == step["text"]
        assert f"{i + 1} of " in page.locator("#decoding-at").inner_text()
        assert f"t = {step['t']:,}" in first.locator(".now").inner_text()
        assert first.locator(".now mark").count() == (1 if i else 0)
        page.locator("#decoding").press("ArrowRight")
    assert first.locator(".final .text").inner_text() == row["hypothesis"]
    box = page.locator("#sample-controls input[data-arm='0']")
    box.uncheck()
    assert not first.is_visible() and page.locator("#sentence-29 .outputs > li:visible").count() == 7
    box.check()
    assert first.is_visible()


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
    assert pdf.startswith(b"%PDF") and 5 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 18
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
