"""Testing a model on the splits of its data: the end of ``train``, and the command ``evaluate``."""

from collections.abc import Iterable

from pytorch_lightning import Callback, Trainer

from image_translation.callbacks import Panels, TestResultsWriter
from image_translation.cli.console import print_results
from image_translation.cli.errors import one_of
from image_translation.data import PairedImageDataModule
from image_translation.data.sources.base import SPLITS
from image_translation.metrics.image_scores import Scores, mean_metrics
from image_translation.metrics.names import PROTOCOLS
from image_translation.models import ImageTranslationModule


def check_splits(splits: str | Iterable[str], protocol: str) -> list[str]:
    """The splits to evaluate, ``all`` being every one. Raises UserError if a split or the protocol is unknown."""
    one_of("protocol", protocol, PROTOCOLS)
    names = [splits] if isinstance(splits, str) else splits
    chosen = [one_of("split", name, (*SPLITS, "all")) for name in names]
    return list(SPLITS) if "all" in chosen else chosen


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
        scores[split] = mean_metrics(model.results[split]) | model.extra_metrics
        rows = {name: scores[split], "identity": mean_metrics(model.results["identity"])}
        print_results(rows, split, *panels, writer.folder)
    return scores
