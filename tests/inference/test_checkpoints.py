"""Checkpoints and exported generators describe themselves, and are not trusted."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.training import make_trainer
from safetensors.torch import load_file, save_file

import image_translation
from image_translation.cli.errors import UserError
from image_translation.inference.checkpoints import read_checkpoint, save_generator
from image_translation.models import Identity, ImageTranslationModule, Pix2Pix, UNetAutoencoder

MODELS = {
    "pix2pix": lambda: Pix2Pix(image_size=32, base_channels=2, norm="batch", gan_loss="hinge"),
    "autoencoder": lambda: UNetAutoencoder(image_size=64, base_channels=2),
    "identity": Identity,
}


def save(model: ImageTranslationModule, path: Path) -> Path:
    trainer = make_trainer()
    trainer.strategy.connect(model)
    trainer.save_checkpoint(path, weights_only=True)
    return path


@pytest.mark.parametrize("name", MODELS)
def test_load_rebuilds_the_model_from_the_file_alone(name: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    model, exported = MODELS[name](), tmp_path / "generator.safetensors"
    path = save(model, tmp_path / "run" / "checkpoints" / "best.ckpt")
    save_generator(model, exported)
    x = torch.rand(2, 3, 64, 64)
    for source in (path, tmp_path / "run", str(path), exported):
        loaded = image_translation.load(source)
        assert type(loaded) is type(model)
        assert dict(loaded.hparams) == dict(model.hparams)
        assert not loaded.training
        with torch.no_grad():
            assert torch.equal(loaded(x), model.eval()(x))
    assert load_file(exported).keys() == model.generator.state_dict().keys()
    about = torch.load(path, weights_only=True)["image_translation"]
    kind = f"{type(model).__module__}:{type(model).__name__}"
    assert about == {"model": kind, "version": image_translation.__version__}


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path: Path) -> None:
    path, trace = tmp_path / "evil.ckpt", tmp_path / "trace"
    content = {"state_dict": {}, "hyper_parameters": {}, "image_translation": {"model": "Identity"}}
    torch.save(content | {"x": Malicious(trace)}, path)
    with pytest.raises(UserError, match=r"evil\.ckpt: refused"):
        read_checkpoint(path)
    assert not trace.exists()
    torch.load(path, weights_only=False)
    assert trace.exists()  # it would have run

    trace.unlink()
    path.write_bytes(pickle.dumps(content | {"x": Malicious(trace)}))  # as torch wrote them long ago
    with pytest.raises(UserError, match=r"evil\.ckpt: damaged, or no checkpoint"):
        read_checkpoint(path)
    assert not trace.exists()


@pytest.mark.parametrize("name", ["cut.ckpt", "cut.safetensors"])
def test_damage_is_recognized(name: str, tmp_path: Path) -> None:
    model, path = MODELS["autoencoder"](), tmp_path / name
    save(model, path) if path.suffix == ".ckpt" else save_generator(model, path)
    content = path.read_bytes()
    for damaged in (b"", content[:10], content[: len(content) // 2], content[:-1]):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=rf"{name}: damaged, or no"):
            image_translation.load(path)
    if path.suffix == ".ckpt":  # a number of the weights is another one
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        with pytest.raises(UserError, match=rf"{name}: damaged: .* is not what was written"):
            image_translation.load(path)


def test_files_that_are_missing_or_from_elsewhere_are_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    save_file({"weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    content = torch.load(save(MODELS["pix2pix"](), tmp_path / "a.ckpt"), weights_only=True)
    autoencoder = {"model": "image_translation.models.autoencoder:UNetAutoencoder"}
    for name, changed in {
        "unknown": {"image_translation": {"model": "os:system"}}, "class": {"image_translation": autoencoder},
        "option": {"hyper_parameters": {"x": 1}}, "size": {"hyper_parameters": {"image_size": 32, "base_channels": 4}},
    }.items():  # fmt: skip
        torch.save(content | changed, tmp_path / f"{name}.ckpt")
    mismatch = r"can't be loaded into image_translation\.models"
    expected = {
        "other.ckpt": "not a checkpoint of image_translation", "other.safetensors": "not exported by image_translation",
        "none.ckpt": "no such checkpoint", "none.safetensors": "no such file", "class.ckpt": mismatch,
        "option.ckpt": mismatch, "size.ckpt": mismatch,
        "unknown.ckpt": "its model 'os:system' is not known here.*Known are .*pix2pix:Pix2Pix",
    }  # fmt: skip
    for name, text in expected.items():
        with pytest.raises(UserError, match=rf"{name}: {text}"):
            image_translation.load(tmp_path / name)
