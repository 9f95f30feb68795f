"""The wheel works away from the checkout."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from conftest import PROJECT, TINY_AUTOENCODER, make_comic_root, succeeded


def test_the_wheel_trains_in_an_empty_folder(tmp_path: Path) -> None:
    root, site, empty = make_comic_root(tmp_path / "pairs"), tmp_path / "site", tmp_path / "empty"
    empty.mkdir()

    def run(*arguments: object) -> str:
        command, environment = [sys.executable, *map(str, arguments)], os.environ | {"PYTHONPATH": str(site)}
        options = {"cwd": empty, "env": environment, "capture_output": True, "text": True, "check": False}
        return succeeded(subprocess.run(command, **options)).stdout

    run("-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", tmp_path, PROJECT)
    (wheel,) = tmp_path.glob("*.whl")
    shutil.unpack_archive(wheel, site, "zip")
    assert str(site) in run("-c", "import image_translation; print(image_translation.__file__)")
    shipped, here = (sorted(path.name for path in (top / "conf").rglob("*.yaml"))
                     for top in (site / "image_translation", PROJECT))  # fmt: skip
    assert shipped == here
    assert "SSIM" in run("-m", "image_translation.train", *TINY_AUTOENCODER, f"data.root={root}")
    (job,) = empty.glob("outputs/comic/autoencoder/*")
    assert (job / "test" / "metrics.json").exists()
