"""The review page and the report in a real browser: what a reader does, and what an attacker tries.

Needs Chromium (Debian: `apt-get install chromium`) and the Python package `playwright`; skipped
where either is missing. Every test also fails on any console error, which is where the browser
reports what the Content-Security-Policy had to stop.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from conftest import HANG_S
from viewer_runs import (
    HOSTILE,
    HOSTILE_NAME,
    NUM_PROBLEMS,
    evaluation_records,
    make_hostile_run,
    make_run,
    make_runs,
    sample,
    write_log,
)

from groupwise.evaluation.log.records import to_line
from groupwise.evaluation.report import write_report
from groupwise.evaluation.text import rounded
from groupwise.evaluation.viewer import serving
from groupwise.evaluation.viewer.reviews import REVIEWS

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

HANG_MS = HANG_S * 1000
playwright.expect.set_options(timeout=HANG_MS)  # as `page` waits

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium here: apt-get install chromium, or set CHROMIUM to one"
)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


Serve = Callable[[Path], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server for a run. It outlives the page, which asks it every few seconds."""
    with ExitStack() as servers:
        yield lambda run: servers.enter_context(served(run))


@pytest.fixture
def page(browser: Any, serve: Serve) -> Iterator[Any]:  # noqa: ARG001 (set up first, ends last)
    """A page that fails the test for any error, message of the policy, or request elsewhere."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    troubles: list[str] = []
    page.on("console", lambda m: m.type in ("error", "warning") and troubles.append(m.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("dialog", lambda dialog: (troubles.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda r: is_foreign(r.url) and troubles.append(f"request: {r.url}"))
    page.set_default_timeout(HANG_MS)
    yield page
    page.close()
    # The browser notes every answer of 400; asking for what is not there is part of the tests.
    assert [t for t in troubles if "400 (Bad Request)" not in t] == []


@contextmanager
def served(run: Path) -> Iterator[str]:
    """The page of a run, when all its logs have been read: what is counted is then all there."""
    with serving([run]) as url:
        while True:
            with urlopen(f"{url}api/status") as answer:
                if json.load(answer)["searchable"]:
                    break
        yield url


def is_foreign(url: str) -> bool:
    return not url.startswith(("http://127.0.0.1:", "file://", "data:"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def url(run: Path) -> Iterator[str]:
    with served(run) as url:
        yield url


@pytest.fixture(scope="module")
def report(run: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_report(run, tmp_path_factory.mktemp("report") / "page.html").as_uri()


@pytest.fixture(params=["served", "report"])
def home(request: pytest.FixtureRequest, url: str, report: str) -> str:
    """The same pages, from the server and from one file on the disk."""
    return url if request.param == "served" else report


def show(page: Any, address: str, selector: str) -> None:
    page.goto(address)
    page.wait_for_selector(selector)


def counted(page: Any, expected: str) -> None:
    playwright.expect(page.locator(".count")).to_contain_text(expected)


def focused(page: Any) -> str:
    text: str = page.evaluate("document.activeElement.textContent")
    return text


# Reading


def test_the_overview_shows_curves_verdict_training_and_findings(page: Any, home: str) -> None:
    show(page, home, ".verdict")
    text = page.inner_text("main")
    for expected in ("pass@1", "pass@4", "base → tuned", "newly solved", "truncated", "Findings",
                     "Reward by component", "KL to the base model", "pass@1 by level",
                     "half of the groups are <b>dead</b>. the problems are too easy. take"
                     " harder ones"):  # fmt: skip
        assert expected in text
    assert text.index("Findings") < text.index("Reward by component")
    assert page.locator(".chart svg polyline").count() >= 5
    assert page.locator(".chart polygon.band").count() == 2
    page.hover(".chart svg >> nth=0")
    assert "[" in page.inner_text(".readout >> nth=0")
    page.click("text=no longer solved")
    page.wait_for_selector("tbody tr")
    assert "change=no_longer_solved" in page.url


def test_numbers_are_rounded_as_in_the_terminal(page: Any, url: str) -> None:
    show(page, url, "h2")
    values = [n / d for d in (3, 7, 16, 160, 1600) for n in range(-d, d + 1, max(1, d // 40))]
    shown = page.evaluate(
        "async (xs) => { const { rounded } = await import('/static/js/dom.js');"
        " return xs.map((x) => [0, 1, 2].map((digits) => rounded(100 * x, digits))); }",
        values,
    )
    assert shown == [[rounded(100 * x, digits) for digits in range(3)] for x in values]


def test_filter_search_and_sort(page: Any, home: str) -> None:
    show(page, f"{home}#/problems", "tbody tr")
    counted(page, f"{NUM_PROBLEMS} problems")
    assert page.inner_text("tbody tr >> nth=0 >> td >> nth=0") in ("new", "lost")
    page.select_option("select[name=status]", "unparseable")
    counted(page, "1 problem")
    assert "status=unparseable" in page.url
    page.click("text=reset")
    counted(page, f"{NUM_PROBLEMS} problems")
    page.fill("input[name=q]", "what is p11")
    counted(page, "11 problems")
    assert page.evaluate("document.activeElement.name") == "q"  # typing continues there
    page.fill("input[name=q]", "p1[0-3]\\?")
    page.check("input[name=regex]")
    counted(page, "4 problems")
    page.reload()
    counted(page, "4 problems")
    page.fill("input[name=q]", "(")
    page.wait_for_selector("text=the regular expression")
    page.fill("input[name=q]", "")
    counted(page, f"{NUM_PROBLEMS} problems")
    page.click("th >> text=tokens")
    page.wait_for_selector("th[aria-sort=descending] >> text=tokens")
    first = page.inner_text("tbody tr >> nth=0")
    assert "p119" in first
    page.click("text=next")
    page.wait_for_selector("text=page 2 of 3")
    page.go_back()
    page.wait_for_selector("text=page 1 of 3")


def test_one_problem_side_by_side_with_diff_and_plain_text(page: Any, home: str) -> None:
    show(page, f"{home}#/problem?id=p5", "article.card")
    assert page.locator(".side").count() == 2
    assert page.locator("article.card").count() == 8
    assert "<|user|>\nWhat is p5?" in page.text_content(".prompt")
    assert page.inner_text(".reference") == "42"
    card = page.locator("article.card >> nth=0")
    for part in ("score", "correctness", "format", "token"):
        assert part in card.inner_text()
    assert card.locator("mark").count() == 1
    assert card.locator("details.think").evaluate("x => x.open")
    card.locator("details.think summary").click()
    assert not card.locator("details.think").evaluate("x => x.open")
    assert card.locator(".katex, math").count() >= 2
    card.locator("button >> text=plain").click()
    assert card.locator(".katex, math").count() == 0
    assert (
        "<think>first $x^2$, then step 0</think>So \\boxed{" in card.locator(".text").inner_text()
    )
    page.click("article.card >> nth=0 >> button.diff")
    page.click("article.card >> nth=5 >> button.diff")
    page.wait_for_selector("dialog ins")
    assert page.inner_text("dialog .difference del").strip()
    compared, shown = page.url, page.inner_text("dialog")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")
    assert "diff=" in compared
    page.wait_for_function("() => !location.hash.includes('diff=')")
    show(page, "about:blank", "body")
    show(page, compared, "dialog ins")
    assert page.inner_text("dialog") == shown
    show(page, f"{home}#/problem?id=p6", "article.card")  # what comes after stands on its own
    playwright.expect(page.locator("dialog")).to_have_count(0)


def test_training_by_step_and_by_prompt(page: Any, home: str) -> None:
    show(page, f"{home}#/training", "tbody tr")
    page.click("tbody a >> text=4")
    page.wait_for_selector("h2 >> text=Step 4")
    assert page.locator("article.card").count() == 6
    assert "advantage" in page.inner_text("article.card >> nth=0")
    page.click("h3 a >> text=t7")
    page.wait_for_selector("h3 >> text=Step 6")
    assert page.locator("section.group").count() == 6


def test_the_keyboard(page: Any, url: str) -> None:
    show(page, f"{url}#/problems?sort=id", "tbody tr")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    assert "What is p0" in focused(page) or "p0" in focused(page)
    page.keyboard.press("Enter")
    page.wait_for_selector("article.card")
    page.keyboard.press("j")
    assert page.evaluate("document.activeElement.matches('article.card')")
    page.keyboard.press("t")
    assert page.locator(".card .text.plain").count() == 8
    page.keyboard.press("t")
    before = page.inner_text("h2")
    page.keyboard.press("n")
    page.wait_for_function("x => document.querySelector('h2').textContent !== x", arg=before)
    page.keyboard.press("u")
    page.wait_for_selector("tbody tr")
    page.keyboard.press("/")
    page.keyboard.type("p7?")
    counted(page, "1 problem")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    page.wait_for_selector("dialog >> text=Keyboard")


def test_marks_notes_and_the_queue(page: Any, serve: Serve, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    url = serve(run)
    show(page, f"{url}#/problem?id=p0&log=run/tuned", "article.card")
    page.keyboard.press("j")
    page.keyboard.press("2")
    page.wait_for_selector("button.mark-wrong[aria-pressed=true]")
    page.keyboard.press("e")
    page.keyboard.type("the reference is <i>doubtful</i>")
    page.keyboard.press("Tab")
    page.wait_for_selector("text=note ✓")
    page.click("nav >> text=Disagreements")
    page.wait_for_selector("h2 >> text=Disagreements")
    page.wait_for_selector("article.card")
    assert page.locator("article.card").count() == 1
    assert "doubtful" in page.input_value("textarea")
    page.reload()
    page.wait_for_selector("button.mark-wrong[aria-pressed=true]")
    page.select_option("main select", "format")
    page.wait_for_function("() => document.querySelectorAll('article.card').length > 5")
    line = json.loads((run / "evaluations/tuned" / REVIEWS).read_text().splitlines()[-1])
    assert line["note"] == "the reference is <i>doubtful</i>"
    assert line["mark"] == "wrong"


def test_a_running_evaluation_shows_up_as_it_goes(page: Any, serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    url = serve(tmp_path / "runs")
    show(page, url, "text=no run here yet")
    records = evaluation_records(0, 0.5)
    log = write_log(tmp_path / "runs/new/evaluations/base/samples.jsonl", records[:8])
    page.wait_for_selector("h2 >> text=new")
    page.click("nav >> text=Problems")
    counted(page, "2 problems")
    write_log(log.with_name("more"), records[8:40])
    with log.open("a") as file:
        file.write(log.with_name("more").read_text())
    counted(page, "10 problems")
    # An address may come before its log: the page tries again.
    page.goto(f"{url}#/problem?id=p20")
    page.wait_for_selector("text=there is no problem")
    with log.open("a") as file:
        file.write("".join(map(to_line, records[40:82])))
    cards = playwright.expect(page.locator("article.card"))
    cards.to_have_count(2)
    # An open problem grows; what its reader has folded, and the note being written, stay.
    page.locator("article.card >> nth=0 >> details.think summary").click()
    page.locator("article.card >> nth=1").focus()
    page.keyboard.press("e")
    page.keyboard.type("half a no")
    with log.open("a") as file:
        file.write("".join(map(to_line, records[82:100])))
    cards.to_have_count(4)
    page.keyboard.type("te")
    assert page.input_value("textarea") == "half a note"
    assert not page.locator("details.think >> nth=0").evaluate("x => x.open")
    page.keyboard.press("Tab")
    page.wait_for_selector("text=note ✓")
    playwright.expect(page.locator(".side h3")).to_contain_text("of 4 right")
    # The other evaluation begins: another column.
    write_log(tmp_path / "runs/new/evaluations/tuned/samples.jsonl", evaluation_records(1, 0.5))
    playwright.expect(page.locator(".side")).to_have_count(2)


# Looks


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "view", ["", "#/problems", "#/problem?id=p3", "#/training", "#/queue?part=format"]
)
def test_contrast_of_all_text_is_at_least_that_of_wcag_aa(
    page: Any, url: str, scheme: str, view: str
) -> None:
    page.emulate_media(color_scheme=scheme)
    show(page, url + view, "main :is(h2, tbody tr)")
    assert page.evaluate(CONTRAST) == []


@pytest.mark.parametrize(
    "view", ["", "#/problems", "#/problem?id=p5", "#/training", "#/queue?part=format"]
)
def test_nothing_is_wider_than_a_telephone(page: Any, home: str, view: str) -> None:
    page.set_viewport_size({"width": 400, "height": 800})
    show(page, home + view, "main :is(h2, tbody tr)")
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


def test_light_and_dark_can_be_chosen(page: Any, url: str) -> None:
    page.emulate_media(color_scheme="light")
    show(page, url, "h2")
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.click("button[aria-label='light or dark']")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert light != dark
    page.reload()
    page.wait_for_selector("h2")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark


# Text that attacks


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    folder = tmp_path_factory.mktemp("hostile")
    run = make_hostile_run(folder / "run")
    page = write_report(run, folder / "page.html").as_uri()
    with served(run) as url:
        yield {"served": url, "report": page}


@pytest.mark.parametrize("where", ["served", "report"])
def test_model_text_is_never_markup(page: Any, hostile: dict[str, str], where: str) -> None:
    home = hostile[where]
    show(page, home, "h2")
    own = {"script", "handler", "link", "math", "bidi", "ansi", "marks", "data"}
    assert own == set(HOSTILE)
    show(page, f"{home}#/problems", "table.list tbody tr")
    assert page.locator("table.list tbody tr").count() == len(HOSTILE)
    for number in range(len(HOSTILE)):
        show(page, f"{home}#/problems?sort=question", "tbody tr")
        page.click(f"tbody tr >> nth={number} >> a")
        page.wait_for_selector("article.card")
        assert page.locator("article.card").count() == 2
        page.keyboard.press("t")
        page.keyboard.press("t")
        page.click("article.card >> nth=0 >> button.diff")
        page.click("article.card >> nth=1 >> button.diff")
        page.wait_for_selector("dialog")
        assert (
            page.locator("main :is(img, iframe, object, embed, form, script, base, style)").count()
            == 0
        )
        links = page.eval_on_selector_all("a", "all => all.map(a => a.getAttribute('href'))")
        assert all(link is None or link.startswith("#") for link in links)
        page.keyboard.press("Escape")
    for view in ("#/queue", "#/queue?part=x", "#/training", "#/problem?id=<img src=x onerror=1>"):
        page.goto(home + view)
        page.wait_for_timeout(100)
    assert page.evaluate("window.pwned") is None


def test_controls_are_shown_and_do_nothing(page: Any, hostile: dict[str, str]) -> None:
    for name, spelled in (("bidi", r"\u202e"), ("ansi", r"\u001b"), ("marks", "a\u0301")):
        show(page, f"{hostile['served']}#/problems", "tbody tr")
        row = page.locator("tbody tr", has_text=f"{name} ").first
        row.locator("a").click()
        page.wait_for_selector("article.card")
        shown = page.text_content("article.card >> nth=1 >> .text")
        assert spelled in shown
        assert not re.search("[\u202e\u2066\x1b\x07\x08\U000e0041]", shown)
        assert "\u0301" * 5 not in shown


def test_a_hostile_address_does_nothing(page: Any, url: str) -> None:
    for address in (
        "#/problems?q=<script>window.pwned=1</script>",
        "#//evil.example",
        "#javascript:1",
        "#/problem?id=__proto__",
        "#/problems?page=-5",
        "#/problems?page=1e9",
    ):
        page.goto(url + address)
        page.wait_for_selector("main *")
    assert page.evaluate("window.pwned") is None


# Several runs


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    folder = make_runs(tmp_path_factory.mktemp("several") / "runs")
    report = write_report(folder, folder.parent / "page.html").as_uri()
    with served(folder) as url:
        yield {"served": url, "report": report}


@pytest.fixture(params=["served", "report"])
def all_runs(request: pytest.FixtureRequest, several: dict[str, str]) -> str:
    return several[request.param]


def legends(chart: Any) -> list[str]:
    texts: list[str] = chart.locator(".legend span").all_inner_texts()
    return texts


def test_each_set_of_problems_has_a_chart_of_its_own(page: Any, all_runs: str) -> None:
    show(page, all_runs, "text=All runs")
    charts = page.locator("section:has(> h2:text('All runs')) .charts .chart")
    assert charts.count() == 2
    first, second = charts.nth(0), charts.nth(1)
    assert "pass@k on the same 120 problems" in first.inner_text()
    assert "pass@k on the same 20 problems" in second.inner_text()
    assert [name.split("/")[-1] for name in legends(first)] == ["base", "tuned"] * 2
    assert legends(second) == ["second/tuned-exam", "third/tuned-exam"]
    own = page.locator("section.run:has(h2:text('second')) .beside .chart")
    assert own.count() == 2, "also where a single run is shown"
    assert legends(own.nth(1)) == ["tuned-exam"]
    tables = page.locator("section.run:has(h2:text('second')) caption").all_inner_texts()
    assert tables == ["pass@1 by level, 120 problems", "pass@1 by level, 20 problems"]


def test_all_trainings_are_drawn_by_metric(page: Any, all_runs: str) -> None:
    show(page, all_runs, ".chart.broad")
    assert page.locator(".chart.broad polyline").count() == 10
    assert len(set(legends(page.locator(".chart.broad")))) == 10
    lines = page.locator(".chart.broad polyline")
    looks = lines.evaluate_all("all => all.map((line) => line.className.baseVal)")
    assert len(set(looks)) == 10, "each line looks different, without its colour too"
    options = page.locator("section label:has-text('metric') option").all_inner_texts()
    assert options[0] == "Reward"
    assert "KL to the base model (2 of 10 runs)" in options
    assert "my/own (8 of 10 runs)" in options
    assert not [title for title in options if "empty" in title], "which no run has numbers of"

    page.select_option("label:has-text('metric') select", label="my/own (8 of 10 runs)")
    assert page.locator(".chart.broad polyline").count() == 8
    page.reload()  # the choice is part of the address
    page.wait_for_selector(".chart.broad")
    assert page.locator(".chart.broad figcaption").inner_text() == "my/own (8 of 10 runs)"


def test_one_of_many_lines_stands_out(page: Any, all_runs: str) -> None:
    show(page, all_runs, ".chart.broad")
    page.hover(".chart.broad svg >> nth=0")
    assert page.locator(".chart.broad g.faded").count() == 9
    assert re.fullmatch(r"step \d+ · .+ [\d.]+", page.inner_text(".chart.broad .readout"))
    page.hover("h1, h2 >> nth=0")
    assert page.locator(".chart.broad g.faded").count() == 0
    page.focus(".chart.broad .legend span >> nth=3")
    assert page.locator(".chart.broad g.faded").count() == 9


def test_the_name_of_a_run_is_never_markup(page: Any, all_runs: str) -> None:
    show(page, all_runs, ".chart.broad")
    assert page.locator("main img").count() == 0
    assert legends(page.locator(".chart.broad"))[0] == HOSTILE_NAME.replace("\u202e", "\\u202e")
    shown = page.evaluate("document.querySelector('main').outerHTML")
    assert "\u202e" not in shown, "spelled, wherever it stands"
    for theme in ("light", "dark"):
        page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
        assert page.evaluate(CONTRAST) == []
    page.set_viewport_size({"width": 390, "height": 800})
    page.reload()
    page.wait_for_selector(".chart.broad")
    assert page.locator(".chart.broad svg >> nth=0").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("window.pwned") is None


def test_an_endless_answer_does_not_stop_the_page(page: Any, serve: Serve, tmp_path: Path) -> None:
    long = "$x$ <think> **a** \\boxed{" * 20_000
    write_log(tmp_path / "e/samples.jsonl", [sample("p1", i, long + str(i), False) for i in (0, 1)])
    url = serve(tmp_path / "e")
    show(page, f"{url}#/problem?id=p1", "article.card")
    page.click("text=more characters >> nth=0")
    page.wait_for_function(
        "() => document.querySelector('.card .text').textContent.length > 100000"
    )
    page.click("article.card >> nth=0 >> button.diff")
    page.click("article.card >> nth=1 >> button.diff")
    page.wait_for_selector("dialog")


GONE = {"error": "the log is gone"}


def test_answers_that_cannot_be_fetched_are_said_to_be_so(
    page: Any, serve: Serve, tmp_path: Path
) -> None:
    texts = [f"{i} " * 50_000 for i in (0, 1)]  # so long that a page has only their beginnings
    samples = [sample("p1", i, text, False) for i, text in enumerate(texts)]
    write_log(tmp_path / "e/samples.jsonl", samples)
    url = serve(tmp_path / "e")
    show(page, f"{url}#/problem?id=p1", "article.card")
    page.route("**/api/sample?*", lambda route: route.fulfill(status=400, json=GONE))
    page.click("article.card >> nth=0 >> button.diff")
    page.click("article.card >> nth=1 >> button.diff")
    page.wait_for_selector("dialog [role=alert]")
    said = page.inner_text("dialog [role=alert]")
    assert said == "The answers could not be fetched: the log is gone"


CONTRAST = """() => {
  const parse = (colour) => {
    const numbers = colour.match(/[\\d.]+/g).map(Number);
    return { rgb: numbers.slice(0, 3), alpha: numbers[3] ?? 1 };
  };
  const linear = (v) => (v / 255 <= 0.03928 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const behind = (element) => {
    for (; element; element = element.parentElement) {
      const colour = parse(getComputedStyle(element).backgroundColor);
      if (colour.alpha > 0.99) return colour.rgb;
    }
    return [255, 255, 255];
  };
  const low = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent;
    const element = walker.currentNode.parentElement;
    if (!text.trim() || !element.checkVisibility() || element.closest("script")) continue;
    const style = getComputedStyle(element);
    const colour = element instanceof SVGElement ? style.fill : style.color;
    const [a, b] = [light(parse(colour).rgb), light(behind(element))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) low.push(`${ratio.toFixed(2)} ${element.className} ${text.slice(0, 30)}`);
  }
  return low;
}"""
