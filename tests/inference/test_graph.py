"""Exported graphs: 8-bit images in and out, of any size, and equal to the checkpoint's."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conftest import SIZE, Command, image, read_json, succeeded
from helpers.training import make_model
from PIL import Image
from torch import nn

import image_translation
from image_translation.cli.errors import UserError
from image_translation.data.kinds import KINDS, make_kind
from image_translation.inference import graph
from image_translation.inference.graph import SUFFIXES, compared, differences, open_graph, write_proven
from image_translation.models import ColorCurveBaseline, Identity, ResUNet, ResUNetGAN

SMALL = {"base_channels": 8, "depth": 1}
MODELS: dict[str, Any] = {
    "pix2pix": partial(make_model, "pix2pix"),
    "pix2pix, batch norm": partial(make_model, "pix2pix", norm="batch", upsample="resize"),
    "autoencoder": partial(make_model, "autoencoder"),
    "autoencoder, batch norm": partial(make_model, "autoencoder", norm="batch"),
    "resunet": partial(ResUNet, **SMALL),
    "resunet_gan": partial(ResUNetGAN, **SMALL, discriminator_channels=4),
    "color_curve": ColorCurveBaseline,
    "identity": Identity,
}


def trained(name: str) -> Any:
    """A model whose output is no constant, although it is not trained."""
    torch.manual_seed(0)
    model = MODELS[name]()
    for module in model.generator.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0, (2 / module.weight[0].numel()) ** 0.5)
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 2)
    model.trained_on = {"background": "white", "image_size": SIZE, "task": "comic", "derive": None}
    return model.eval()


@pytest.mark.parametrize(
    "name", [name if name == "resunet" else pytest.param(name, marks=pytest.mark.slow) for name in MODELS]
)
def test_onnx_of_every_model_equals_it(name: str, tmp_path: Path) -> None:
    """By onnxruntime alone, as another program would use the file."""
    model, path = trained(name), tmp_path / "model.onnx"
    assert write_proven(model, path, "onnx", {"fingerprint": "abc"}) >= 0.99
    onnx.checker.check_model(path)
    session = onnxruntime.InferenceSession(path)
    for size in ((SIZE, SIZE), (100, 70), (20, 33)):
        pixels = np.asarray(image(5, size))
        (output,) = session.run(None, {"images": pixels[None]})
        expected = model.predict(pixels)
        assert output.dtype == np.uint8
        assert np.abs(output[0].astype(int) - expected).max() <= 1
        assert expected.std() > 1
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize("form", [pytest.param("torch", marks=pytest.mark.slow), "openvino"])
def test_other_formats_too(form: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model, path = trained("resunet"), tmp_path / f"model{SUFFIXES[form]}"
    write_proven(model, path, form, {"fingerprint": "abc"})
    _, about = open_graph(path)
    assert about["normalizes_images"]
    assert (about["model"], about["fingerprint"], about["trained_on"]) == ("ResUNet", "abc", model.trained_on)
    photo = image(6, (90, 61))
    if form == "torch":
        with pytest.raises(UserError, match="can hold code"):
            image_translation.load(path)
    else:
        found = np.asarray(image_translation.load(path).predict(photo)).astype(int)
        assert np.abs(found - model.predict(photo)).max() <= 1
        assert "Tiles of" not in caplog.text
        image_translation.load(path).predict(photo, tile=32)
        assert "Tiles of an exported graph differ" in caplog.text


def test_a_torch_program_takes_images_smaller_than_the_network(tmp_path: Path) -> None:
    """Where its lowest maps have one pixel, which the program's example has not."""
    write_proven(trained("pix2pix"), tmp_path / "model.pt2", "torch", {})
    run, _ = open_graph(tmp_path / "model.pt2")
    assert run(np.asarray(image(7, (20, 33)))[None]).shape == (1, 33, 20, 3)


def test_a_wrong_graph_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if instance norm had become batch norm with other statistics."""
    model, path = trained("resunet"), tmp_path / "model.pt2"
    right = graph.write_graph

    def write_other(_: Any, path: Path, *more: Any) -> None:
        with torch.no_grad():
            other = trained("resunet")
            other.generator.head[-1].bias.add_(0.05)
        right(other, path, *more)

    monkeypatch.setattr(graph, "write_graph", write_other)
    with pytest.raises(UserError, match="is not right, so nothing was written"):
        write_proven(model, path, "torch", {})
    assert not list(tmp_path.iterdir())


def test_another_class_of_a_mask_is_one_step_whatever_its_number() -> None:
    kind = make_kind("target", "mask", 9, None, None)
    model = ResUNet(**SMALL, out_channels=9)
    model.trained_on["target"] = kind.describe()

    def run(images: Any) -> Any:
        outputs = np.stack([model.predict(image) for image in images])
        outputs[:, 0, 0] = (outputs[:, 0, 0].astype(int) + 5) % 9
        return outputs

    found = differences(model.eval(), run, (32, 32))
    assert [(steps.max(), (steps > 0).sum()) for steps in found] == [(1, n) for n in (1, 1, 1, 3, 3, 3)]
    assert [compared(kind) for kind in (kind, KINDS["rgb"], KINDS["grey16"])] == [
        "classes", "8-bit values", "values, in steps of 12 bits,"
    ]  # fmt: skip


def test_what_is_no_exported_file(tmp_path: Path) -> None:
    for suffix in (".onnx", ".xml"):
        with pytest.raises(UserError, match="no such file"):
            image_translation.load(tmp_path / f"none{suffix}")
        (tmp_path / f"text{suffix}").write_text("no model")
        with pytest.raises(UserError, match="damaged, or not exported by image_translation"):
            image_translation.load(tmp_path / f"text{suffix}")


def test_the_command_and_what_takes_its_file(finished_run: Path, command: Command, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    result = succeeded(command("export", f"run={finished_run}", "format=onnx", f"output={path}"))
    assert "% of its outputs' 8-bit values equal the checkpoint's" in result.stdout
    assert "is exported already" in command("export", f"run={path}", f"output={tmp_path / 'x.safetensors'}").stderr
    assert "must end in .onnx" in command("export", f"run={finished_run}", "format=onnx", "output=model.pt").stderr

    succeeded(command("evaluate", f"run={path}", f"output={tmp_path / 'results'}"))
    trained, exported = (read_json(folder / "test" / "metrics.json") for folder in (finished_run, tmp_path / "results"))
    assert exported == pytest.approx(trained, rel=5e-3)  # trained in bf16

    image(7, (90, 61)).save(tmp_path / "photo.png")
    where = (f"input={tmp_path / 'photo.png'}", "precision=32-true", "device=cpu")
    for source, output in ((path, "a"), (finished_run, "b")):
        succeeded(command("predict", f"run={source}", f"output={tmp_path / output}", *where))
    one, other = (np.asarray(Image.open(tmp_path / folder / "photo.png")).astype(int) for folder in "ab")
    assert np.abs(one - other).max() <= 1
