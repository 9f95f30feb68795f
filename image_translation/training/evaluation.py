"""Testing a model on the splits of its data: the end of ``train``, and the command ``evaluate``."""

import logging
from collections.abc import Iterable
from pathlib import Path

from pytorch_lightning import Callback, Trainer

from image_translation.callbacks import Panels, TestResultsWriter
from image_translation.cli.console import print_results
from image_translation.data import PairedImageDataModule
from image_translation.inference.checkpoints import read_checkpoint
from image_translation.metrics.image_scores import Scores
from image_translation.metrics.names import LEADERS, title
from image_translation.models import ImageTranslationModule

log = logging.getLogger(__name__)


def load_best(trainer: Trainer, model: ImageTranslationModule, path: Path) -> None:
    """Load the best checkpoint into the model; without one it gets the last weights."""
    if not path.exists():
        if model.trains:
            log.warning("There is no best checkpoint, so %s gets the last weights.", path.name)
        trainer.save_checkpoint(path, weights_only=True)
    model.load_state_dict(read_checkpoint(path)["state_dict"])


def validate(trainer: Trainer, model: ImageTranslationModule, datamodule: PairedImageDataModule) -> dict[str, float]:
    """The val metrics, ``val/psnr`` and so on, of the model as it is, if there are any.

    Loggers don't get them, and no callback takes part: an average of the weights would be validated instead.
    """
    loggers, trainer.loggers = trainer.loggers, []
    callbacks, trainer.callbacks = trainer.callbacks, []  # type: ignore[attr-defined]
    scores = trainer.validate(model, datamodule=datamodule, verbose=False)
    trainer.loggers, trainer.callbacks = loggers, callbacks  # type: ignore[attr-defined]
    return {name: value for of_loader in scores for name, value in of_loader.items()}


def evaluate(
    trainer: Trainer,
    model: ImageTranslationModule,
    datamodule: PairedImageDataModule,
    name: str,
    splits: Iterable[str],
    protocol: str = "standard",
) -> dict[str, Scores]:
    """Test a model on splits by the formulas of a protocol, and return the mean metrics of each split.

    The trainer's ``TestResultsWriter`` writes the results; a table of each split is printed, with the model's ``name``.
    """
    model.set_protocol(protocol)
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    writer = next(callback for callback in callbacks if isinstance(callback, TestResultsWriter))
    panels = [callback.dirpath for callback in callbacks if isinstance(callback, Panels)]
    scores = {}
    for split in splits:
        model.test_split = datamodule.test_split = split
        trainer.test(model, datamodule=datamodule, verbose=False)
        extra = model.extra_metrics
        scores[split] = model.mean_metrics(split) | extra.get("", {})
        rows = {name: model.mean_metrics(name) | extra.get(name, {}) for name in model.baselines.names}
        print_results({name: scores[split]} | rows, split, *panels, writer.folder)
        leaders = [metric for metric in LEADERS if metric in scores[split]]
        below = all(scores[split][metric] < rows["color_curve"][metric] for metric in leaders)
        if below and model.trains and trainer.is_global_zero:
            names = " and ".join(title(metric)[:-2] for metric in leaders)
            print(f"Below color_curve in {names}: {name} has learned no structure yet.")
    if "test" in scores and writer.overview.exists() and trainer.is_global_zero:
        print(f"Look at {writer.overview}: curves, and the best, the median and the worst test image.")
    return scores
