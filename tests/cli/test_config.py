"""Help and configs: they import nothing heavy, every choice composes, and every node builds what it names."""

import re
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import PROJECT, Command, succeeded
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Callback

from image_translation.callbacks import EMA, BestCheckpoint, LastCheckpoint
from image_translation.cli.app import instantiate
from image_translation.cli.errors import UserError
from image_translation.cli.values import CHOICES
from image_translation.models import ColorCurveBaseline, Identity, Pix2Pix, ResUNet, UNetAutoencoder
from image_translation.runs.config import flatten_config
from image_translation.training.seeding import StepSeeding
from image_translation.training.trainer import make_trainer

MODELS = {
    "pix2pix": Pix2Pix,
    "autoencoder": UNetAutoencoder,
    "identity": Identity,
    "color_curve": ColorCurveBaseline,
    "resunet": ResUNet,
}
OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
HEAVY = ("torch", "pytorch_lightning", "torchvision", "torchmetrics", "wandb", "skimage", "numpy", "scipy",
         "matplotlib")  # fmt: skip


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (PROJECT / "conf" / group).glob("*.yaml"))


def config(folder: Path, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(PROJECT / "conf"), version_base="1.3"):
        cfg = compose("train", [*overrides, f"hydra.runtime.output_dir={folder}"], return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    return cfg


def run_and_list_imports(command_name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command, which then prints what it has imported of ``HEAVY``."""
    script = (
        "import sys, atexit, runpy\n"
        f"atexit.register(lambda: print('HEAVY', [m for m in {HEAVY} if m in sys.modules]))\n"
        f"sys.argv = ['x', *{arguments}]\n"
        f"runpy.run_module('image_translation.{command_name}', run_name='__main__')\n"
    )
    return subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command_name", ["train", "evaluate", "compare", "check", "download", "export"])
@pytest.mark.parametrize("flags", [("--help",), ("--cfg", "job")])
def test_help_and_config_import_nothing_heavy(command_name: str, flags: tuple[str, ...]) -> None:
    result = succeeded(run_and_list_imports(command_name, *flags))
    assert "debug: false" in result.stdout
    assert result.stdout.rstrip().endswith("HEAVY []")


@pytest.mark.parametrize("option", ["trainer.precision=bf17", "model.norm=layer", "trainer.max_epochs=abc",
                                    "data.image_size=[256]", "optimized_metric=psnr", "evaluate=[tests]"])  # fmt: skip
def test_a_wrong_value_is_answered_before_torch_is_imported(option: str, tmp_path: Path) -> None:
    result = run_and_list_imports("train", option, f"hydra.run.dir={tmp_path / 'run'}")
    assert result.returncode == 1
    assert re.fullmatch(rf"Error: {option.partition('=')[0]} must be .*\n", result.stderr)
    assert result.stdout.rstrip().endswith("HEAVY []")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("option", [name for name in CHOICES if name.startswith(("data.", "model.", "trainer."))])
def test_what_may_be_chosen_is_what_the_class_takes(option: str, tmp_path: Path) -> None:
    node = option.partition(".")[0]

    model = "pix2pix" if option in ("model.norm", "model.upsample") else "resunet_gan"

    def build(value: Any) -> Any:
        needed = {"derived": ["task=coloring"], "table": ["data.table=pairs.csv"], "mask": ["data.classes=3"]}.get(
            value, []
        )
        cfg = config(tmp_path, f"model={model}", *needed)
        OmegaConf.update(cfg, option, value)
        return make_trainer(cfg.trainer, []) if node == "trainer" else instantiate(cfg[node], node)

    for choice in CHOICES[option]:
        build(choice)
    if option not in ("trainer.precision", "model.gradient_checkpointing"):  # these look at no other value
        names = ", ".join(map(str, CHOICES[option]))
        with pytest.raises(UserError, match=f"^{option} must be one of {names}; got 'odd'"):
            build("odd")


def test_help_lists_the_groups_and_an_example(command: Command) -> None:
    text = succeeded(command("train", "--help")).stdout
    assert "task: coloring, comic, facades, inpaint, monet, sketch, superres" in text
    assert f"model: {', '.join(choices('model'))}" in text
    assert "python -m image_translation.train -m task=coloring,monet,comic model=pix2pix,autoencoder" in text


def test_tasks_and_models_are_what_they_are_called(tmp_path: Path) -> None:
    for task in choices("task"):
        cfg = config(tmp_path, f"task={task}")
        assert cfg.data.task == cfg.run.task == task
    assert {*MODELS} <= {*choices("model")}
    for model, kind in MODELS.items():
        cfg = config(tmp_path, f"model={model}")
        assert get_class(cfg.model._target_) is kind
        assert cfg.run.model == model


def test_coloring_computes_gray_inputs(tmp_path: Path) -> None:
    gray = instantiate(config(tmp_path, "task=coloring").data, "data").derive(torch.rand(2, 3, 4, 4))
    assert torch.equal(gray[:, 0], gray[:, 2])


@pytest.mark.parametrize("model", ["autoencoder", "resunet"])
@pytest.mark.parametrize(("optimizer", "schedule"), product(choices("model/optimizer"), choices("model/scheduler")))
def test_every_optimizer_and_schedule_is_made(optimizer: str, schedule: str, model: str, tmp_path: Path) -> None:
    cfg = config(tmp_path, f"model={model}", "model.base_channels=8", f"model/optimizer={optimizer}",
                 "model.optimizer.lr=0.5", f"model/scheduler={schedule}")  # fmt: skip
    built = instantiate(cfg.model, "model")
    made = built.optimizer_factory(built.parameters())
    assert type(made) is OPTIMIZERS[optimizer]
    steps = {"total_steps": 1000} if schedule == "cosine" else {}
    rates, advancing = [], built.scheduler_factory(made, **steps)
    for _ in range(100):
        rates.append(made.param_groups[0]["lr"])
        made.step()
        advancing.step()
    assert max(rates) <= 0.5
    assert (len(set(rates)) == 1) == (schedule == "constant")


@pytest.mark.parametrize("trainer", choices("trainer"))
@pytest.mark.parametrize("callbacks", choices("callbacks"))
def test_every_trainer_is_made_with_its_callbacks(trainer: str, callbacks: str, tmp_path: Path) -> None:
    # There may be no GPU here, and no two devices; the rest is made as it is.
    here = ["trainer.accelerator=cpu"] if trainer in ("gpu", "ddp", "default") else []
    here += ["trainer.devices=1"] if trainer == "ddp" else []
    cfg = config(tmp_path, f"trainer={trainer}", f"callbacks={callbacks}", *here)
    made = make_trainer(cfg.trainer, [instantiate(node, name) for name, node in cfg.callbacks.items()])
    assert made.limit_train_batches == (2 if trainer == "debug" else 1.0)
    kinds = [type(callback) for callback in made.callbacks]
    assert kinds[-2:] == [BestCheckpoint, LastCheckpoint]  # after the callbacks whose state they keep
    assert (EMA in kinds) == (callbacks == "ema")


def test_what_a_run_adds_to_its_trainer(tmp_path: Path) -> None:
    cfg = config(tmp_path, "trainer=cpu", "trainer.max_epochs=7", "trainer.precision=32-true").trainer
    trainer = make_trainer(cfg, [Callback()])
    assert [type(callback) for callback in trainer.callbacks][:2] == [StepSeeding, Callback]  # which may draw
    assert (trainer.max_epochs, trainer.precision, trainer.gradient_clip_val) == (7, "32-true", None)
    assert make_trainer(cfg, [Callback()], trains=False).max_epochs == 0


@pytest.mark.parametrize("experiment", choices("experiment"))
def test_an_experiment_sets_options_that_exist(experiment: str, tmp_path: Path) -> None:
    values: Any = OmegaConf.load(PROJECT / "conf" / "experiment" / f"{experiment}.yaml")
    values.pop("hydra", None)
    defaults = [item for choice in values.pop("defaults", []) for item in choice.items()]
    chosen = [f"{group.removeprefix('override /')}={choice}" for group, choice in defaults]
    plain, changed = (flatten_config(config(tmp_path, *o)) for o in (chosen, [*chosen, f"experiment={experiment}"]))
    options = flatten_config(values)
    assert options
    for name, value in options.items():
        assert name in plain
        assert plain[name] != value  # it would not be needed
        assert changed[name] == value


def test_the_study_is_the_plain_training_of_every_pair(tmp_path: Path) -> None:
    plain, study = config(tmp_path), config(tmp_path, "experiment=study")
    assert all(plain[part] == study[part] for part in ("data", "model", "trainer"))
    assert study.hydra.mode == RunMode.MULTIRUN
    params = {name: sorted(value.split(",")) for name, value in study.hydra.sweeper.params.items()}
    assert params["task"] == ["coloring", "comic", "monet"]
    assert params["model"] == ["autoencoder", "pix2pix", "resunet", "resunet_gan"]
    assert len(params["seed"]) >= 3


def test_the_defaults_are_the_studys(tmp_path: Path) -> None:
    cfg = config(tmp_path)
    assert (cfg.model.lambda_l1, cfg.model.gan_loss, cfg.model.dropout) == (100, "bce", 0.5)
    assert (cfg.trainer.max_epochs, cfg.data.image_size, cfg.data.batch_size) == (100, 256, 1)
    model = instantiate(cfg.model, "model")
    assert sum(p.numel() for p in model.parameters()) == 54_413_955 + 2_768_705
    defaults = model.optimizer_factory(model.parameters()).defaults
    assert (defaults["lr"], tuple(defaults["betas"])) == (2e-4, (0.5, 0.999))
