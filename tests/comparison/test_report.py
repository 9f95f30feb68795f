"""The page, in a real browser."""

import io
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.fake_runs import make_run
from PIL import Image

from image_translation.compare import compare

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (apt-get install chromium)")
PHONE, DESK = {"width": 390, "height": 800}, {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    for seed in range(2):
        for model, noise in (("pix2pix", 10), ("autoencoder", 30)):
            make_run(root / f"{model}{seed}", "comic", model, seed, noise, count=24, train=5.0)
    make_run(root / "evil", task="<b>&bold", model="a|b_c", count=12)
    make_run(root / "failed", seed=7, status="failed")
    output = tmp_path_factory.mktemp("a folder with ünusual & <signs>")
    compare([root], output)
    return output / "report.html"


@pytest.fixture(scope="module")
def browser() -> "Iterator[playwright.Browser]":
    with playwright.sync_playwright() as p, tempfile.TemporaryDirectory() as home:
        browser = p.chromium.launch(executable_path=CHROMIUM, env={"HOME": home})
        yield browser
        browser.close()


@pytest.fixture
def page(browser: "playwright.Browser", page_file: Path) -> "Iterator[playwright.Page]":
    """The page from its file, without a network; any error or request is one of the test's."""
    context = browser.new_context(viewport=DESK, offline=True)
    page = context.new_page()
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda r: wrong.append(r.url) if not r.url.startswith(("file:", "data:")) else None)
    page.goto(page_file.as_uri())
    yield page
    assert wrong == []
    context.close()


def test_names_are_escaped_and_every_image_is_loaded(page: "playwright.Page") -> None:
    """Without scrolling too, as for a screenshot of the whole page; and at once for a printer."""
    assert page.locator("b").count() == 0
    assert page.locator("h2", has_text="Images: <b>&bold").count() == 1
    page.wait_for_function("""() => [...document.querySelectorAll('img[data-key]')]
        .every(img => img.complete && img.naturalWidth > 0)""")
    page.evaluate("document.querySelectorAll('img[data-key]').forEach(img => img.removeAttribute('src'))")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("img[data-key]:not([src])").count() == 0
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 700, "height": 900})  # A4
    assert page.evaluate("document.documentElement.scrollWidth") <= 700
    assert page.locator("#position-label span").all_text_contents() == ["Left", "Right"]


def test_tables_sort_by_value_both_ways(page: "playwright.Page") -> None:
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")

    def column(index: int) -> list[float]:
        cells = page.locator(f"#verdicts tbody td:nth-child({index + 1})").all_text_contents()
        return [float(text.split()[0].replace("−", "-")) for text in cells]

    heading = page.locator("#verdicts th", has_text="Difference")
    before = column(4)
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    assert column(4) == sorted(before) != before
    heading.get_by_role("button").click()
    assert column(4) == sorted(before, reverse=True)
    page.locator("#verdicts th", has_text="Better on").get_by_role("button").press("Enter")
    assert column(7) == sorted(column(7))


def test_the_viewer_slides_flickers_zooms_and_pages(page: "playwright.Page") -> None:
    page.locator("button.open").first.click()
    assert page.locator("#right").input_value() == "target"
    page.wait_for_function("() => document.getElementById('over').clientWidth > 100")
    cuts = set()
    for key in ("Home", "PageUp", "End"):
        page.locator("#position").press(key)
        cuts.add(page.evaluate("() => getComputedStyle(document.getElementById('over')).clipPath"))
    assert len(cuts) == 3
    page.locator("#mode").select_option("flicker")
    page.wait_for_function("() => document.getElementById('layers').classList.contains('off')")
    page.wait_for_function("() => !document.getElementById('layers').classList.contains('off')")
    page.locator("#zoom").select_option("4")
    page.wait_for_function("() => document.getElementById('under').clientWidth === 128")
    title = page.locator("#viewer-title").text_content()
    page.locator("#next").click()
    assert page.locator("#viewer-title").text_content() != title
    page.keyboard.press("p")
    assert page.locator("#viewer-title").text_content() == title
    page.locator("#close").click()
    assert not page.locator("#viewer").is_visible()
    page.locator("button.open").first.click()
    page.keyboard.press("Escape")
    assert not page.locator("#viewer").is_visible()


def test_the_error_map_is_black_where_nothing_differs(page: "playwright.Page") -> None:
    def brightest() -> float:
        page.wait_for_timeout(300)
        shot = Image.open(io.BytesIO(page.locator("#layers").screenshot())).convert("L")
        return shot.crop((8, 8, shot.width - 8, shot.height - 8)).getextrema()[1]

    page.locator("button.open").first.click()
    page.locator("#mode").select_option("error")
    assert brightest() > 60
    page.locator("#left").select_option("target")
    assert brightest() <= 16


def test_nothing_is_wider_than_the_window(page: "playwright.Page") -> None:
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    for viewport in (DESK, PHONE):
        page.set_viewport_size(viewport)
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        page.locator("button.open").first.click()
        assert page.evaluate("document.getElementById('viewer').scrollWidth") <= viewport["width"]
        assert page.locator("#position").is_visible()
        page.keyboard.press("Escape")


def test_everything_has_a_name_for_those_who_cannot_see(page: "playwright.Page") -> None:
    assert page.locator('img:not([alt]), img[alt=""]:not([role=img] img, #layers img)').all() == []
    nameless = page.evaluate("""() => [...document.querySelectorAll('button, select, input')]
        .filter(node => !(node.textContent.trim() || node.getAttribute('aria-label') || node.labels?.length))
        .map(node => node.outerHTML.slice(0, 100))""")
    assert nameless == []
    ids = page.evaluate("() => [...document.querySelectorAll('[id]')].map(node => node.id)")
    assert len(ids) == len(set(ids))


def test_text_has_contrast(page: "playwright.Page") -> None:
    """At least 4.5 : 1 by the formula of WCAG 2, for every color of text on its background."""
    worst = page.evaluate("""() => {
        const light = (rgb) => rgb.map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
            .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
        const parse = (text) => text.match(/[\\d.]+/g).map(Number);
        let worst = 21;
        for (const node of document.querySelectorAll('main *, header *')) {
            if (![...node.childNodes].some(child => child.nodeType === 3 && child.textContent.trim())) continue;
            let back = node;
            while (back && parse(getComputedStyle(back).backgroundColor)[3] === 0) back = back.parentElement;
            const paper = back ? parse(getComputedStyle(back).backgroundColor) : [255, 255, 255];
            const [a, b] = [parse(getComputedStyle(node).color), paper].map(c => light(c.slice(0, 3)));
            worst = Math.min(worst, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05));
        }
        return worst;
    }""")
    assert worst >= 4.5
