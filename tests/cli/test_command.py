"""The command line before any training: help and config."""

import subprocess
import sys

import pytest
from conftest import PROJECT, Command, succeeded

HEAVY = ("torch", "pytorch_lightning", "torchvision", "torchmetrics", "wandb", "skimage", "numpy", "scipy",
         "matplotlib")  # fmt: skip


@pytest.mark.parametrize("command_name", ["train", "evaluate", "compare", "check", "download", "export"])
@pytest.mark.parametrize("flags", [("--help",), ("--cfg", "job")])
def test_help_and_config_import_nothing_heavy(command_name: str, flags: tuple[str, ...]) -> None:
    script = (
        "import sys, atexit, runpy\n"
        f"atexit.register(lambda: print('HEAVY', [m for m in {HEAVY} if m in sys.modules]))\n"
        f"sys.argv = ['x', *{flags}]\n"
        f"runpy.run_module('image_translation.{command_name}', run_name='__main__')\n"
    )
    result = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=False)
    succeeded(result)
    assert "debug: false" in result.stdout
    assert result.stdout.rstrip().endswith("HEAVY []")


def test_help_lists_the_groups_and_an_example(command: Command) -> None:
    text = succeeded(command("train", "--help")).stdout
    assert "task: coloring, comic, facades, inpaint, monet, sketch, superres" in text
    assert "model: autoencoder, identity, pix2pix" in text
    assert "python -m image_translation.train -m task=coloring,monet,comic model=pix2pix,autoencoder" in text
