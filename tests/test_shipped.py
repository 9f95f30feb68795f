"""What ships, and what users add, goes all the way by the real command line: train, evaluate, resume, export, load."""

import csv
import json
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import PROJECT, Command, comic_of, image, succeeded
from helpers.forked import run_module
from PIL import Image

import image_translation

# Today's names.
SIZE = (32, 32)
TINY = (
    f"data.image_size={SIZE[0]}", "data.batch_size=2", "data.num_workers=0", "trainer.accelerator=cpu",
    "trainer.max_epochs=1", "logger=none",
)  # fmt: skip
MODEL = ("model=autoencoder", "model.base_channels=2")
GAN = ("model=pix2pix", "model.base_channels=2")
GANS = ("facades", "sketch")  # tasks that are trained by it, the others by the other
LAYOUTS = {"folders", "aligned", "derived", "table"}
TASKS = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((PROJECT / "conf" / "task").glob("*.yaml"))}
CASES = {
    **{task: [f"task={task}"] for task in TASKS},
    "table": ["task=comic", "data.layout=table", "data.table=pairs.csv"],
    "resunet": ["task=coloring", "model=resunet", "model.base_channels=8", "model.depth=2"],
    "resunet_gan": [
        "task=coloring",
        "model=resunet_gan",
        "model.base_channels=8",
        "model.depth=2",
        "model.discriminator_channels=4",
        "data.image_size=64",
    ],
    "option of derive": ["task=inpaint", "+data.derive.ratio=0.3"],
}
OWN = {
    "conf/model/mymodel.yaml": """
        defaults: [optimizer: adam, scheduler: cosine, _self_]
        _target_: mine.MyModel
        width: 3
        optimizer: {lr: 1e-3}
        """,
    "conf/task/mytask.yaml": """
        # @package data
        task: mytask
        layout: derived
        derive: {_target_: mine.negative, _partial_: true}
        """,
    "conf/callbacks/mycallbacks.yaml": """
        defaults: [default]
        mine: {_target_: mine.Notes, path: "${run.dir}/notes.txt", text: done}
        """,
    "mine.py": """
        import pytorch_lightning as pl
        import torch
        from torch import Tensor, nn

        from image_translation.models import ImageTranslationModule


        def negative(images: Tensor) -> Tensor:
            return -images


        class MyModel(ImageTranslationModule):
            def __init__(self, width: int, optimizer=None, scheduler=None) -> None:
                super().__init__(optimizer, scheduler)
                self.generator = nn.Sequential(nn.Conv2d(3, width, 1), nn.Conv2d(width, 3, 1), nn.Tanh())

            def losses(self, batch: dict) -> dict[str, Tensor]:
                mse = nn.functional.mse_loss(self.generator(batch["input"]), batch["target"])
                return {"loss": mse, "mse": mse.detach()}


        class Notes(pl.Callback):
            def __init__(self, path: str, text: str) -> None:
                self.path, self.text = path, text

            def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
                with open(self.path, "a") as file:
                    print(self.text, trainer.current_epoch, file=file)
        """,
    "use.py": """
        import sys

        import numpy as np
        from PIL import Image

        import image_translation
        import mine

        *files, output = sys.argv[1:]
        models = [image_translation.load(file) for file in files]
        assert all(isinstance(model, mine.MyModel) for model in models)
        image = Image.open("image.png")
        np.save(output, [np.asarray(model.predict(image, derive=mine.negative)) for model in models])
        """,
}


def make_pairs(root: Path, data: dict[str, Any]) -> None:
    """4 pairs to train on, 2 each to validate and test on, as a task expects them."""
    rows = []
    for seed, split in enumerate(["train"] * 4 + ["val"] * 2 + ["test"] * 2):
        target = image(seed, SIZE)
        source = comic_of(target)
        match data["layout"]:
            case "aligned":
                images = {f"{split}/{seed}.png": Image.fromarray(np.hstack([np.asarray(source), np.asarray(target)]))}
            case "derived":
                images = {f"{split}/{seed}.png": target}
            case "table":
                images = {f"a{seed}.png": source, f"b{seed}.png": target}
                rows.append([*images, split])
            case _:
                folders = data["input_folder"], data["target_folder"]
                images = {f"{split}/{folders[0]}/{seed}.png": source, f"{split}/{folders[1]}/{seed}.png": target}
        for name, half in images.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            half.save(root / name)
    if rows:
        with (root / "pairs.csv").open("w", newline="") as file:
            csv.writer(file).writerows([["input", "target", "split"], *rows])


def layout_of(case: str) -> str:
    return case if case in LAYOUTS else TASKS[CASES[case][0].removeprefix("task=")]["layout"]


def go_all_the_way(command: Command, run: Path, options: list[str], own: str = "debug=false") -> Path:
    """Train, evaluate, resume and export; the exported file."""
    succeeded(command("train", own, *options, f"hydra.run.dir={run}"))
    trained = json.loads((run / "test" / "metrics.json").read_text())
    assert "test/psnr" in trained
    assert epochs(run) == ["1"]

    succeeded(command("evaluate", own, f"run={run}", "trainer.accelerator=cpu"))
    assert json.loads((run / "evaluate" / "test" / "metrics.json").read_text()) == pytest.approx(trained)

    succeeded(command("train", own, f"resume={run}", "trainer.max_epochs=2"))
    assert epochs(run) == ["1", "2"]
    manifest = json.loads((run / "run.json").read_text())
    assert (manifest["status"], manifest["epochs"]) == ("finished", 2)

    exported = run.parent / "generator.safetensors"
    succeeded(command("export", own, f"run={run}", f"output={exported}"))
    return exported


def epochs(run: Path) -> list[str]:
    return [row["epoch"] for row in csv.DictReader((run / "metrics.csv").read_text().splitlines())]


def test_the_color_curve_ships_too(command: Command, tmp_path: Path) -> None:
    """It has no epochs: it is finished when training begins."""
    make_pairs(tmp_path / "pairs", TASKS["comic"])
    run = tmp_path / "run"
    succeeded(command("train", *TINY, "model=color_curve", f"data.root={tmp_path / 'pairs'}", f"hydra.run.dir={run}"))
    trained = json.loads((run / "test" / "metrics.json").read_text())
    succeeded(command("evaluate", f"run={run}"))
    assert json.loads((run / "evaluate" / "test" / "metrics.json").read_text()) == pytest.approx(trained)
    exported = tmp_path / "curve.safetensors"
    succeeded(command("export", f"run={run}", f"output={exported}"))
    new = np.asarray(image(100, (50, 40)))
    one, other = (np.asarray(image_translation.load(path).predict(new)) for path in (run, exported))
    right = np.asarray(image(100, (50, 40)))  # make_pairs' targets are what its inputs were made of
    back = np.asarray(image_translation.load(run).predict(np.asarray(comic_of(image(100, (50, 40))))))
    assert np.abs(back.astype(int) - right).max() <= 2
    assert np.array_equal(one, other)


def test_every_layout_is_gone_through() -> None:
    assert {layout_of(case) for case in CASES} == LAYOUTS


@pytest.mark.parametrize("case", CASES)
def test_what_ships(case: str, command: Command, tmp_path: Path) -> None:
    root, run = tmp_path / "pairs", tmp_path / "run"
    make_pairs(root, TASKS.get(case, {}) | {"layout": layout_of(case)})
    options = [*TINY, *(GAN if case in GANS else MODEL), *CASES[case], f"data.root={root}"]
    exported = go_all_the_way(command, run, options)
    new = np.asarray(image(100, (50, 40)))
    one, other = (np.asarray(image_translation.load(path).predict(new)) for path in (run, exported))
    assert one.std() > 0
    assert np.array_equal(one, other)
    if case in ("coloring", "resunet_gan"):
        assert np.array_equal(one, predicted(command, run, "debug=false"))


def predicted(command: Command, run: Path, own: str) -> np.ndarray:
    """What the command predict makes of an image."""
    image(100, (50, 40)).save(run.parent / "new.png")
    where = (f"input={run.parent / 'new.png'}", f"output={run.parent / 'used'}", "device=cpu", "precision=32-true")
    succeeded(command("predict", own, f"run={run}", *where))
    return np.asarray(Image.open(run.parent / "used" / "new.png"))


def write_own(folder: Path) -> str:
    """A user's own module and configs, in the folder in which the commands run; how to name the configs."""
    for name, text in OWN.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(textwrap.dedent(text).strip())
    return f"--config-dir={folder / 'conf'}"


def test_what_users_add(command: Command, tmp_path: Path) -> None:
    make_pairs(tmp_path / "pairs", {"layout": "derived"})
    options = [*TINY, "model=mymodel", "task=mytask", "callbacks=mycallbacks", f"data.root={tmp_path / 'pairs'}"]
    run, own = tmp_path / "run", write_own(tmp_path / "cwd")
    exported = go_all_the_way(command, run, options, own)
    assert (run / "notes.txt").read_text() == "done 0\ndone 1\n"

    image(100, (50, 40)).save(tmp_path / "cwd" / "image.png")
    environment = {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}
    arguments = [str(run), str(exported), str(tmp_path / "predicted.npy")]
    succeeded(run_module("use", arguments, tmp_path / "cwd", environment, tmp_path))
    one, other = np.load(tmp_path / "predicted.npy")
    assert one.std() > 0
    assert np.array_equal(one, other)
    assert np.array_equal(one, predicted(command, run, own))


def test_a_class_that_only_the_run_names_is_not_used(command: Command, tmp_path: Path) -> None:
    make_pairs(tmp_path / "pairs", {"layout": "derived"})
    run, own = tmp_path / "run", write_own(tmp_path / "cwd")
    options = [*TINY, "model=mymodel", "task=mytask", f"data.root={tmp_path / 'pairs'}", f"hydra.run.dir={run}"]
    succeeded(command("train", own, *options))
    for refused in (command("evaluate", f"run={run}"), command("train", f"resume={run}", "trainer.max_epochs=2")):
        assert refused.returncode == 1
        assert "mymodel" in refused.stderr
        assert "--config-dir" in refused.stderr
    succeeded(command("evaluate", own, f"run={run}"))
