"""The wheel works away from the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

from conftest import PROJECT, TINY_AUTOENCODER, make_comic_root, succeeded


def test_the_wheel_trains_in_an_empty_folder(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir"]
    succeeded(subprocess.run([*build, str(tmp_path), str(PROJECT)], capture_output=True, text=True, check=False))
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    empty = tmp_path / "empty"
    empty.mkdir()
    root = make_comic_root(tmp_path / "pairs")

    def run(*arguments: str) -> str:
        return succeeded(
            subprocess.run(
                [sys.executable, "-m", "image_translation.train", *arguments], cwd=empty, capture_output=True, text=True,
                env=os.environ | {"PYTHONPATH": str(tmp_path / "site")}, check=False,
            )
        ).stdout  # fmt: skip

    where = "import image_translation; print(image_translation.__file__)"
    shown = subprocess.run([sys.executable, "-c", where], cwd=empty, capture_output=True, text=True, check=True,
                           env=os.environ | {"PYTHONPATH": str(tmp_path / "site")}).stdout  # fmt: skip
    assert str(tmp_path / "site") in shown
    assert "task: coloring, comic, monet" in run("--help")
    assert "SSIM" in run(*TINY_AUTOENCODER, f"data.root={root}")
    (job,) = empty.glob("outputs/comic/autoencoder/*")
    assert (job / "test" / "metrics.json").exists()
