"""Every choice composes, and every node builds what it names."""

from itertools import product
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from conftest import PROJECT
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from image_translation.cli.app import instantiate
from image_translation.data import PairedImageDataModule
from image_translation.models import Identity, Pix2Pix, UNetAutoencoder
from image_translation.training.device import choose_precision

MODELS = {"pix2pix": Pix2Pix, "autoencoder": UNetAutoencoder, "identity": Identity}


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (PROJECT / "conf" / group).glob("*.yaml"))


def config(folder: Path, *overrides: str, name: str = "train") -> DictConfig:
    with initialize_config_dir(str(PROJECT / "conf"), version_base="1.3"):
        cfg = compose(name, [*overrides, f"hydra.runtime.output_dir={folder}"], return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    return cfg


@pytest.mark.parametrize(("task", "model", "trainer"), product(choices("task"), choices("model"), choices("trainer")))
def test_every_combination_instantiates(task: str, model: str, trainer: str, tmp_path: Path) -> None:
    small = [] if model == "identity" else ["model.base_channels=2"]
    # There may be no GPU here, and no two devices; the rest of these trainers is built as it is.
    here = {"gpu": ["trainer.accelerator=cpu"], "ddp": ["trainer.accelerator=cpu", "trainer.devices=1"]}.get(
        trainer, []
    )
    cfg = config(tmp_path, f"task={task}", f"model={model}", f"trainer={trainer}", *small, *here)
    cfg.trainer.precision = choose_precision(cfg.trainer.precision, cfg.trainer.accelerator)
    assert cfg.run.task == task
    assert cfg.run.model == model
    data = instantiate(cfg.data)
    assert isinstance(data, PairedImageDataModule)
    assert data.task == task
    built = instantiate(cfg.model)
    assert type(built) is MODELS[model]
    assert isinstance(instantiate(cfg.trainer), pl.Trainer)
    assert len([instantiate(callback) for callback in cfg.callbacks.values()]) == 9
    if task == "coloring":
        gray = data.derive(torch.rand(2, 3, 4, 4))
        assert torch.equal(gray[:, 0], gray[:, 2])


@pytest.mark.parametrize("experiment", choices("experiment"))
def test_every_experiment_composes(experiment: str, tmp_path: Path) -> None:
    plain, changed = config(tmp_path), config(tmp_path, f"experiment={experiment}")
    parts = ("if_exists", "data", "model", "trainer", "hydra")
    assert any(plain[part] != changed[part] for part in parts)


def test_the_study_is_the_plain_training_of_every_pair(tmp_path: Path) -> None:
    plain, study = config(tmp_path), config(tmp_path, "experiment=study")
    assert all(plain[part] == study[part] for part in ("data", "model", "trainer"))
    assert study.hydra.mode == RunMode.MULTIRUN
    params = {name: sorted(value.split(",")) for name, value in study.hydra.sweeper.params.items()}
    assert params["task"] == ["coloring", "comic", "monet"]
    assert params["model"] == ["autoencoder", "pix2pix"]
    assert len(params["seed"]) >= 2


@pytest.mark.parametrize(
    ("choice", "names"),
    [("wandb", ["wandb"]), ("tensorboard", ["tensorboard"]), ("[wandb,tensorboard]", ["wandb", "tensorboard"]),
     ("none", []), ("[]", [])],
)  # fmt: skip
def test_loggers_can_be_none_one_or_several(choice: str, names: list[str], tmp_path: Path) -> None:
    assert list(config(tmp_path, f"logger={choice}").get("logger") or {}) == names


def test_the_defaults_are_the_studys(tmp_path: Path) -> None:
    cfg = config(tmp_path)
    assert (cfg.model.learning_rate, cfg.model.beta1, cfg.model.lambda_l1, cfg.model.gan_loss) == (
        2e-4,
        0.5,
        100,
        "bce",
    )
    assert (cfg.trainer.max_epochs, cfg.data.image_size, cfg.data.batch_size) == (100, 256, 1)
    model = instantiate(cfg.model)
    assert sum(p.numel() for p in model.parameters()) == 54_413_955 + 2_768_705
    assert dict(model.hparams)["learning_rate"] == 2e-4


@pytest.mark.gpu
def test_the_default_trainer_takes_the_gpu(tmp_path: Path) -> None:
    assert instantiate(config(tmp_path).trainer).strategy.root_device.type == "cuda"
