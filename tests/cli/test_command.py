"""The command line before any training: help, config, typos."""

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


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        (
            "task=comik",
            "unknown task 'comik'; there are coloring, comic, facades, inpaint, monet, sketch, superres. Did you",
        ),
        (
            "model=pix2pics",
            "unknown model 'pix2pics'; there are autoencoder, identity, pix2pix. Did you mean 'pix2pix'?",
        ),
        ("trainer=tpu", "unknown trainer 'tpu'; there are cpu, ddp, debug, default, gpu."),
        ("trainer.max_epoch=3", "unknown option 'trainer.max_epoch'. Did you mean 'trainer.max_epochs'"),
        ("data.batchsize=3", "unknown option 'data.batchsize'. Did you mean 'data.batch_size'"),
        ("data.root=~/pairs", "'data.root=~/pairs' cannot be read"),
        ("optimizer.lr=1", "unknown option 'optimizer.lr'. Did you mean 'model.optimizer.lr'"),
        ("modl=pix2pix", "unknown option 'modl'. Did you mean 'model'"),
    ],
)
def test_a_typo_offers_the_nearest_names(argument: str, message: str, command: Command) -> None:
    result = command("train", *argument.split())
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("download", "name is not set: name=…"),
        ("check data.root=???", "data.root is not set: data.root=…"),
        ("check output=${nope}", "output: Interpolation key 'nope' not found"),
        ("compare runs=???", "runs is not set: runs=…"),
        ("compare runs=[???]", "Missing value at index 0"),
        ("compare reference=5", "Config group override must be a string or a list. Got int"),
        ("compare ~wandb", "wandb: Key 'wandb' is not in struct"),
    ],
)
def test_a_value_that_is_missing_or_none_is_said(arguments: str, message: str, command: Command) -> None:
    result = command(*arguments.split())
    assert result.returncode == 1
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
