"""What all models share: evaluation, prediction, checkpoints; and how to write another one."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import SIZE, make_comic_root
from helpers.results import leaves
from helpers.training import NAMES, PLAIN, SGD, adam, fit, make_data, make_model, moved_alike, without_dropout
from torch import Tensor, nn

import image_translation
from image_translation.callbacks import LastCheckpoint
from image_translation.cli.errors import UserError
from image_translation.data.transforms import to_stored
from image_translation.metrics.image_scores import mean_metrics
from image_translation.models import Identity, ImageTranslationModule, Pix2Pix
from image_translation.training.schedules import warmup_cosine


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_an_output_depends_on_its_input_alone(name: str, norm: str) -> None:
    """Not on the rest of the batch; and the default norm computes the same while training."""
    model = without_dropout(name, norm=norm).eval()
    x = torch.rand(3, 3, SIZE, SIZE) * 2 - 1
    with torch.no_grad():
        together, alone = model(x), torch.cat([model(image[None]) for image in x])
        predicted, training = model.predict_step({"input": x}, 0), model.train()(x)
    assert torch.allclose(together, alone, atol=1e-5)
    assert torch.equal(predicted, to_stored(together))
    assert torch.equal(together, training) == (norm == "instance")


@pytest.mark.parametrize(("accelerator", "precision"), [
    ("cpu", "bf16-mixed"),
    *(pytest.param("gpu", precision, marks=pytest.mark.gpu) for precision in ("32-true", "bf16-mixed", "16-mixed")),
])  # fmt: skip
def test_scores_are_exact_in_any_precision(name: str, accelerator: str, precision: str, comic_root: Path) -> None:
    model, identity, data = make_model(name), Identity(), make_data(comic_root, batch_size=2)
    trainer = fit(model, data, accelerator=accelerator, devices=1, precision=precision, max_epochs=2)
    trainer.test(model, datamodule=data, verbose=False)
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert mean_metrics(model.results["test"])["mse"] < mean_metrics(model.results["identity"])["mse"] * 2
    fit(identity, data, max_epochs=0).test(identity, datamodule=data, verbose=False)
    expected = leaves(identity.results["identity"])
    assert leaves(model.results["identity"]) == pytest.approx(expected, abs=1e-6)


def test_outputs_that_are_nan_end_the_run(comic_root: Path) -> None:
    model = make_model("autoencoder")
    with torch.no_grad():
        model.generator.head[1].bias[1] = float("nan")
    with pytest.raises(UserError, match=r"After step \d+ outputs of the model are NaN"):
        fit(model, make_data(comic_root, batch_size=2))


def test_gradient_checkpointing_trains_to_the_same_weights(name: str, comic_root: Path) -> None:
    """Dropout included: what is computed again draws the same random numbers."""
    models = [make_model(name, optimizer=SGD, gradient_checkpointing=choice) for choice in (False, True, False)]
    for model in models[:2]:
        fit(model, make_data(comic_root, batch_size=2), limit_val_batches=0)
    moved_alike(*models)


def test_a_checkpoint_of_another_memory_layout_is_resumed(name: str, comic_root: Path, tmp_path: Path) -> None:
    """As a GPU leaves it, whose weights are channels_last."""
    file, weights = tmp_path / "last.ckpt", []
    fit(make_model(name), make_data(comic_root, batch_size=2), callbacks=[LastCheckpoint(str(tmp_path))])
    for layout in (torch.contiguous_format, torch.channels_last):
        checkpoint = torch.load(file, weights_only=True)
        for optimizer in checkpoint["optimizer_states"]:
            for state in optimizer["state"].values():
                state.update({k: v.contiguous(memory_format=layout) for k, v in state.items() if v.ndim == 4})
        torch.save(checkpoint, tmp_path / "other.ckpt")
        model = make_model(name)
        fit(model, make_data(comic_root, batch_size=2), max_epochs=2, ckpt_path=tmp_path / "other.ckpt")
        weights.append([p.detach().clone() for p in model.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*weights, strict=True))


class Shift(ImageTranslationModule):
    def __init__(self, optimizer: Any = None) -> None:
        super().__init__(optimizer)
        self.generator = nn.Conv2d(3, 3, 1)

    def losses(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        return {"loss": F.l1_loss(self.generator(batch["input"]), batch["target"])}


class Halved(Pix2Pix):
    """Another constructor, whose arguments are its own."""

    def __init__(self, channels: int = 8, **options: Any) -> None:
        super().__init__(base_channels=channels // 2, **options)


@pytest.mark.parametrize("model", [
    *(without_dropout(name, image_size=32, base_channels=16, optimizer=adam(5e-3)) for name in NAMES), Shift(adam(0.1)),
], ids=lambda model: type(model).__name__)  # fmt: skip
def test_every_model_overfits_four_pairs(model: Any, tmp_path: Path) -> None:
    """A new one that is a single class too: a 1×1 convolution can do it all."""
    root = make_comic_root(tmp_path / "pairs", {"train": 4, "val": 1, "test": 1})
    data = make_data(root, image_size=32, batch_size=4, **PLAIN)
    trainer = fit(model, data, max_epochs=80, limit_val_batches=0)
    model.test_split = data.test_split = "train"
    trainer.test(model, datamodule=data, verbose=False)
    learned, identity = (mean_metrics(model.results[name])["mse"] for name in ("train", "identity"))
    assert learned < identity / 100


@pytest.mark.parametrize("model", [
    Shift(adam(0.1)), Halved(12, image_size=SIZE), Identity(),
    Pix2Pix(image_size=SIZE, base_channels=4, optimizer=adam(0.1), scheduler=partial(warmup_cosine, warmup_steps=1)),
], ids=lambda model: type(model).__name__)  # fmt: skip
def test_checkpoints_hold_plain_values_and_are_loaded(model: Any, comic_root: Path, tmp_path: Path) -> None:
    trainer = fit(model, make_data(comic_root), max_epochs=int(model.trains), limit_train_batches=1)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    content = torch.load(tmp_path / "last.ckpt", weights_only=True)
    for place, value in leaves(content).items():
        is_plain = type(value) in (Tensor, str, int, float, bool, type(None)) or value in ({}, [], ())
        assert is_plain, f"{place}: {type(value)}"
    assert not {"optimizer", "scheduler"} & set(content["hyper_parameters"])
    loaded = image_translation.load(tmp_path / "last.ckpt")
    assert type(loaded) is type(model)
    assert dict(loaded.hparams) == dict(model.hparams)
    x = torch.rand(2, 3, SIZE, SIZE)
    with torch.no_grad():
        assert torch.equal(loaded(x), model.eval()(x))
