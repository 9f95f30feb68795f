"""The Trainer that a config makes."""

from typing import Any

import pytest
from conftest import PROJECT
from hydra import compose, initialize_config_dir
from pytorch_lightning import Callback, Trainer

from image_translation.cli.errors import UserError
from image_translation.training.trainer import make_trainer


def made(*overrides: str, **options: Any) -> Trainer:
    with initialize_config_dir(str(PROJECT / "conf"), version_base="1.3"):
        cfg = compose("train", ["trainer.default_root_dir=.", "trainer=cpu", *overrides])
    return make_trainer(cfg.trainer, [Callback()], **options)


@pytest.mark.parametrize(("option", "text"), [
    ("trainer.precision=64-true", r"^trainer.precision must be one of 32-true, bf16-mixed, 16-mixed; got '64-true'"),
    ("trainer.limit_test_batches=0", r"^trainer.limit_test_batches=0 leaves no image"),
    ("trainer.limit_test_batches=-3", r"^trainer: .*limit_test_batches"),
])  # fmt: skip
def test_options_that_cannot_be_used(option: str, text: str) -> None:
    with pytest.raises(UserError, match=text):
        made(option)


def test_what_the_run_adds() -> None:
    trainer = made("trainer.max_epochs=7", "trainer.precision=32-true")
    names = [type(callback).__name__ for callback in trainer.callbacks]
    assert names.index("StepSeeding") < names.index("Callback")  # what a callback draws is seeded too
    assert (trainer.max_epochs, trainer.precision, trainer.gradient_clip_val) == (7, "32-true", None)
    assert made(trains=False).max_epochs == 0
