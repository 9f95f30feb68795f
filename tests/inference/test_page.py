"""The web page of ``serve``, in a real browser."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ENVIRONMENT, Command, image, succeeded
from PIL import Image

pytest.importorskip("gradio")
playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (apt-get install chromium)")
WAIT = 60_000  # milliseconds: two cores may be busy


@pytest.fixture(scope="module")
def server(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server; it leaves nothing behind."""
    folder = tmp_path_factory.mktemp("temporary")
    process = subprocess.Popen(
        [sys.executable, "-m", "image_translation.serve", f"run={finished_run}", "device=cpu"],
        env={**os.environ, **ENVIRONMENT, "TMPDIR": str(folder)}, stdout=subprocess.PIPE, text=True, cwd=folder,
    )  # fmt: skip
    assert process.stdout
    found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
    assert found
    yield found[0]
    process.send_signal(signal.SIGINT)
    process.wait(60)
    assert [path.name for path in folder.iterdir() if not path.name.startswith("torchinductor")] == []


@pytest.fixture
def page(server: str) -> "Iterator[playwright.Page]":
    """A page that has asked nobody but the server."""
    with playwright.sync_playwright() as p, tempfile.TemporaryDirectory() as home:
        browser = p.chromium.launch(executable_path=CHROMIUM, env={"HOME": home})
        page = browser.new_page()
        page.set_default_timeout(WAIT)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(server)
        page.get_by_text("Input | output").wait_for()
        yield page
        assert not [url for url in asked if not url.startswith((server, "data:", "blob:"))]
        browser.close()


def upload(page: "playwright.Page", *files: Path) -> None:
    page.locator("input[type=file]").last.set_input_files([*files])


def download(page: "playwright.Page", button: str, target: Path) -> Path:
    with page.expect_download() as waiting:
        page.get_by_role("button", name=button).click()
    waiting.value.save_as(target / waiting.value.suggested_filename)
    return target / waiting.value.suggested_filename


def test_an_image_becomes_what_predict_writes(
    page: "playwright.Page", finished_run: Path, command: Command, tmp_path: Path
) -> None:
    photo = tmp_path / "a photo.jpg"
    image(1, (90, 70)).save(photo)
    upload(page, photo)
    shown(page, 90)
    found = download(page, "Download the output", tmp_path)
    succeeded(command("predict", f"run={finished_run}", f"input={photo}", f"output={tmp_path / 'out'}", "format=png",
                      "device=cpu"))  # fmt: skip
    assert found.name == "a photo.png"
    assert found.read_bytes() == (tmp_path / "out" / "a photo.png").read_bytes()


def shown(page: "playwright.Page", width: int) -> None:
    """Wait until the slider shows two images that are so wide."""
    page.wait_for_function(f"""() => {{
        const both = [...document.querySelectorAll('img.preview')];
        return both.length === 2 && both.every(img => img.naturalWidth === {width});
    }}""")


def test_test_images_and_other_uploads_after_them(page: "playwright.Page", tmp_path: Path) -> None:
    page.locator(".gallery img, .gallery-item img").first.click()
    shown(page, 64)
    image(1, (90, 70)).save(tmp_path / "photo.png")
    upload(page, tmp_path / "photo.png")
    shown(page, 90)
    page.get_by_role("radio", name="the size of the training images").click()
    button = page.get_by_role("button", name="Download the output")
    playwright.expect(button).to_be_enabled()
    (tmp_path / "text.png").write_text("no image")
    upload(page, tmp_path / "text.png")
    page.get_by_text("text.png: not an image of a known kind").wait_for()
    playwright.expect(page.locator("img.preview")).to_have_count(0)
    playwright.expect(button).to_be_disabled()  # not the output of the one before


def test_what_is_no_image_or_too_large_gets_a_message(page: "playwright.Page", tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no image")
    upload(page, tmp_path / "text.png")
    page.get_by_text("text.png: not an image of a known kind").wait_for()
    page.reload()
    Image.new("1", (8000, 7500)).save(tmp_path / "large.png")
    upload(page, tmp_path / "large.png")
    page.get_by_text("large.png: 8000×7500 pixels; here an image may have 50 million.").wait_for()


def test_several_files(page: "playwright.Page", tmp_path: Path) -> None:
    image(1).save(tmp_path / "one.png")
    image(2, (40, 50)).save(tmp_path / "one.webp")
    (tmp_path / "text.png").write_text("no image")
    page.get_by_role("tab", name="Several images").click()
    upload(page, tmp_path / "one.png", tmp_path / "one.webp", tmp_path / "text.png")
    page.get_by_role("button", name="Predict").click()
    page.get_by_text("text.png: not an image of a known kind").wait_for()
    with zipfile.ZipFile(download(page, "Download them all", tmp_path)) as archive:
        sizes = {name: Image.open(archive.open(name)).size for name in archive.namelist() if name.endswith(".png")}
    assert sizes == {"one.png": (64, 64), "2/one.png": (40, 50)}
