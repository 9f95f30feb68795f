"""A training that diverges ends before its weights are saved."""

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SIZE
from helpers.training import MODELS, fit, make_data
from torch import Tensor

from image_translation.callbacks import LastCheckpoint, StopOnNaN
from image_translation.cli.errors import UserError


def poisoned(name: str, step: int, what: str, value: float) -> Any:
    """A model that trains well up to one step, where a loss, or one number of a gradient, is spoiled."""

    class Poisoned(MODELS[name]):
        def spoil(self, tensor: Tensor) -> Tensor:
            if self.global_step == step:
                tensor = tensor.clone()
                tensor[(0,) * tensor.ndim] = value
            return tensor

        def training_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Tensor]:
            at, losses = self.global_step, super().training_step(batch, batch_idx)
            if at == step:
                self.images = batch["name"]
                losses |= {"l1": losses["l1"] * value} if what == "loss" else {}
            return losses

    model = Poisoned(image_size=SIZE, base_channels=4)
    if what == "gradient":
        next(model.generator.parameters()).register_hook(model.spoil)
    return model


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("what", ["loss", "gradient"])
@pytest.mark.parametrize("name", MODELS)
def test_the_step_and_its_images_are_named(name: str, what: str, value: float, comic_root: Path, tmp_path: Path) -> None:
    model, callbacks = poisoned(name, 4, what, value), [StopOnNaN(), LastCheckpoint(str(tmp_path), every_n_steps=1)]
    with pytest.raises(UserError, match=r"Training diverged by step 5: .*(nan|inf)") as raised:
        fit(model, make_data(comic_root, batch_size=2), max_epochs=3, callbacks=callbacks)
    assert len(model.images) == 2
    assert f"Images: {', '.join(model.images)}." in str(raised.value)
    kept = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert kept["global_step"] == 4
    assert all(value.isfinite().all() for value in kept["state_dict"].values())


@pytest.mark.gpu
@pytest.mark.parametrize("name", MODELS)
def test_a_gpu_is_asked_before_a_checkpoint_is_written(name: str, comic_root: Path, tmp_path: Path) -> None:
    """Only then, because it would have to be waited for."""
    callbacks = [StopOnNaN(), LastCheckpoint(str(tmp_path), every_n_steps=2)]
    with pytest.raises(UserError, match="Training diverged by step 4"):  # after the third step it was not asked
        fit(poisoned(name, 2, "gradient", float("nan")), make_data(comic_root, batch_size=1), accelerator="gpu",
            devices=1, callbacks=callbacks)  # fmt: skip
    kept = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert kept["global_step"] == 2
    assert all(value.isfinite().all() for value in kept["state_dict"].values())
