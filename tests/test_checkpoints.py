"""Checkpoints describe themselves, and are not trusted."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

import image_translation
from image_translation.cli.errors import UserError
from image_translation.inference.checkpoints import read_checkpoint
from image_translation.models import Identity, ImageTranslationModule, Pix2Pix, UNetAutoencoder

MODELS = {
    "pix2pix": lambda: Pix2Pix(image_size=32, base_channels=2, norm="batch", gan_loss="hinge"),
    "autoencoder": lambda: UNetAutoencoder(image_size=64, base_channels=2),
    "identity": Identity,
}


def save(model: ImageTranslationModule, path: Path) -> Path:
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    trainer.strategy.connect(model)
    trainer.save_checkpoint(path, weights_only=True)
    return path


@pytest.mark.parametrize("name", MODELS)
def test_load_rebuilds_the_model_from_the_file_alone(name: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    model = MODELS[name]()
    path = save(model, tmp_path / "run" / "checkpoints" / "best.ckpt")
    for source in (path, tmp_path / "run", str(path)):
        loaded = image_translation.load(source)
        assert type(loaded) is type(model)
        assert not loaded.training
        x = torch.rand(2, 3, 64, 64)
        with torch.no_grad():
            assert torch.equal(loaded(x), model.eval()(x))
    assert dict(loaded.hparams) == dict(model.hparams)


def test_a_checkpoint_holds_tensors_and_plain_values(tmp_path: Path) -> None:
    path = save(MODELS["pix2pix"](), tmp_path / "a.ckpt")
    content = torch.load(path, weights_only=True)

    def check(value: Any, place: str) -> None:
        if isinstance(value, dict):
            for key, child in value.items():
                check(child, f"{place}.{key}")
        elif isinstance(value, list | tuple):
            for child in value:
                check(child, place)
        else:
            assert type(value) in (torch.Tensor, str, int, float, bool, type(None)), f"{place}: {type(value)}"

    check(content, "checkpoint")
    assert content["image_translation"] == {"model": "Pix2Pix", "version": image_translation.__version__}


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_code_in_a_pickle_is_refused_and_not_run(writer: str, tmp_path: Path) -> None:
    path, trace = tmp_path / "evil.ckpt", tmp_path / "trace"
    content = {
        "state_dict": {},
        "hyper_parameters": {},
        "image_translation": {"model": "Identity"},
        "x": Malicious(trace),
    }
    if writer == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    with pytest.raises(UserError, match=r"evil\.ckpt: refused"):
        read_checkpoint(path)
    assert not trace.exists()
    torch.load(path, weights_only=False) if writer == "torch" else pickle.loads(path.read_bytes())
    assert trace.exists()  # it would have run


@pytest.mark.parametrize("keep", [0, 10, 0.5, -1])
def test_a_truncated_checkpoint_is_recognized(keep: float, tmp_path: Path) -> None:
    path = save(MODELS["autoencoder"](), tmp_path / "cut.ckpt")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep) if 0 < keep < 1 else int(keep)])
    with pytest.raises(UserError, match=r"cut\.ckpt: (damaged|refused)"):
        image_translation.load(path)


def test_checkpoints_from_elsewhere_are_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(UserError, match=r"other\.ckpt: not a checkpoint of image_translation"):
        image_translation.load(tmp_path / "other.ckpt")
    with pytest.raises(UserError, match="no such checkpoint"):
        image_translation.load(tmp_path / "nowhere.ckpt")


def test_an_unknown_model_and_wrong_weights_are_refused(tmp_path: Path) -> None:
    path = save(MODELS["pix2pix"](), tmp_path / "a.ckpt")
    content = torch.load(path, weights_only=True)
    torch.save(content | {"image_translation": {"model": "os.system", "version": "1"}}, path)
    with pytest.raises(UserError, match=r"'os\.system' is not known here; known are"):
        image_translation.load(path)
    torch.save(content | {"image_translation": {"model": "UNetAutoencoder", "version": "1"}}, path)
    with pytest.raises(UserError, match="weights don't fit the UNetAutoencoder"):
        image_translation.load(path)
