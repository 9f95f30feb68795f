"""Checkpoints and exported generators describe themselves, and are not trusted."""

from pathlib import Path

import pytest
import torch
from helpers.training import make_trainer
from safetensors.torch import load_file, save_file

import image_translation
from image_translation.cli.errors import UserError
from image_translation.inference.checkpoints import save_generator
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
    assert about == {
        "model": kind,
        "version": image_translation.__version__,
        "trained_on": {"background": "white"},
    }


def test_files_that_are_missing_damaged_or_from_elsewhere_are_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    save_file({"weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    cut = tmp_path / "cut.safetensors"
    save_generator(MODELS["pix2pix"](), cut)
    cut.write_bytes(cut.read_bytes()[:-1])
    good = save(MODELS["pix2pix"](), tmp_path / "good.ckpt")
    content = bytearray(good.read_bytes())
    content[len(content) // 2] ^= 1  # in the weights
    (tmp_path / "bit.ckpt").write_bytes(content)
    autoencoder = {"model": "image_translation.models.autoencoder:UNetAutoencoder"}
    for name, changed in {
        "unknown": {"image_translation": {"model": "os:system"}}, "class": {"image_translation": autoencoder},
        "option": {"hyper_parameters": {"x": 1}}, "size": {"hyper_parameters": {"image_size": 32, "base_channels": 4}},
    }.items():  # fmt: skip
        torch.save(torch.load(good, weights_only=True) | changed, tmp_path / f"{name}.ckpt")
    mismatch = r"can't be loaded into image_translation\.models"
    for name, text in {
        "other.ckpt": "not a checkpoint of image_translation", "other.safetensors": "not exported by image_translation",
        "none.ckpt": "no such checkpoint", "none.safetensors": "no such file", "class.ckpt": mismatch,
        "option.ckpt": mismatch, "size.ckpt": mismatch, "cut.safetensors": "damaged, or no safetensors file",
        "bit.ckpt": "damaged: .* is not what was written",
        "unknown.ckpt": "its model 'os:system' is not known here.*Known are .*pix2pix:Pix2Pix",
    }.items():  # fmt: skip
        with pytest.raises(UserError, match=rf"{name}: {text}"):
            image_translation.load(tmp_path / name)
