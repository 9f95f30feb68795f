"""The trainer of a config."""

import logging
from pathlib import Path
from typing import Any

import pytest
from conftest import PROJECT
from helpers.shards import write_parquet
from helpers.training import make_data, make_model
from omegaconf import OmegaConf
from pytorch_lightning import Callback

from image_translation.training.trainer import make_trainer


class Validations(Callback):
    def __init__(self) -> None:
        self.steps: list[int] = []

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self.steps.append(trainer.global_step)


@pytest.mark.parametrize(("interval", "expected"), [(7, [7, 14]), (1.0, [5, 10])])
def test_steps_between_validations_of_a_stream_are_counted_over_its_epochs(
    interval: Any,
    expected: list[int],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An epoch has five steps."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "SLEEP_TIME_ON_THREADS_SHUTDOWN", 0)
    options = {"accelerator": "cpu", "max_steps": 14, "max_epochs": -1, "val_check_interval": interval}
    cfg = OmegaConf.merge(OmegaConf.load(PROJECT / "conf" / "trainer" / "default.yaml"), options)
    validations = Validations()
    with caplog.at_level(logging.INFO):
        root = OmegaConf.create({"trainer": cfg, "run": {"dir": str(tmp_path)}})
        trainer = make_trainer(root.trainer, [validations], streams=True, enable_progress_bar=False)
    data = make_data(write_parquet(tmp_path / "set"), layout="hub", streaming=True, batch_size=4)
    trainer.fit(make_model("autoencoder"), data)
    assert validations.steps == expected
    said = "when models are validated and saved, may be far away" in caplog.text
    assert said == (interval == 1.0)
