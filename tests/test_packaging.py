"""The wheel works away from the checkout."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from conftest import PROJECT, TINY_AUTOENCODER, make_comic_root, succeeded


def test_the_wheel_trains_in_an_empty_folder(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir"]
    succeeded(subprocess.run([*build, str(tmp_path), str(PROJECT)], capture_output=True, text=True, check=False))
    (wheel,) = tmp_path.glob("*.whl")
    shutil.unpack_archive(wheel, tmp_path / "site", "zip")
    empty = tmp_path / "empty"
    empty.mkdir()
    root = make_comic_root(tmp_path / "pairs")

    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}

    def run(*arguments: str) -> str:
        command = [sys.executable, *arguments]
        return succeeded(
            subprocess.run(command, cwd=empty, env=environment, capture_output=True, text=True, check=False)
        ).stdout

    assert str(tmp_path / "site") in run("-c", "import image_translation; print(image_translation.__file__)")
    assert "task: coloring, comic, facades, inpaint, monet, sketch, superres" in run(
        "-m", "image_translation.train", "--help"
    )
    assert "SSIM" in run("-m", "image_translation.train", *TINY_AUTOENCODER, f"data.root={root}")
    (job,) = empty.glob("outputs/comic/autoencoder/*")
    assert (job / "test" / "metrics.json").exists()
