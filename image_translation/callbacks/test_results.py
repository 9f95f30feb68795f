"""The results of a test: every image, its scores, and their means."""

from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, Trainer
from torch import Tensor
from torchvision.io import write_png
from torchvision.transforms.functional import to_pil_image

from image_translation.cli.errors import at_least, one_of
from image_translation.data.transforms import to_uint8
from image_translation.loggers.wandb import log_rows
from image_translation.metrics.image_scores import mean_metrics
from image_translation.models import ImageTranslationModule
from image_translation.runs.files import write_csv, write_json

COMPRESSION = 1  # the default, 6, takes three times as long for files that are 3 % smaller


class TestResultsWriter(Callback):
    """Writes ``metrics.json``, ``per_image.csv`` and ``images/<name>.png``, and logs a table of images with scores.

    Beside them stand the inputs' own scores, ``identity.csv``, and what the outputs are compared with, as the model saw
    it: ``inputs/<name>.png`` and ``targets/<name>.png``.

    Args:
        folder: where the results go, in a folder with the split's name.
        others: the same for other splits than ``test``; None for ``folder``.
        table_images: how many images the logged table shows.
        pairs: whether to write ``inputs`` and ``targets`` too; ``compare`` shows them.
    """

    def __init__(self, folder: str, others: str | None = None, table_images: int = 50, pairs: bool = True) -> None:
        at_least("callbacks.results.table_images", table_images, 0, whole=True)
        one_of("callbacks.results.pairs", pairs, (True, False))
        self.folders = {"test": Path(folder)}
        self.others = Path(others or folder)
        self.table_images, self.pairs = table_images, pairs
        self.shown: dict[str, dict[str, Any]] = {}

    def on_test_start(self, trainer: Trainer, pl_module: ImageTranslationModule) -> None:  # type: ignore[override]
        self.shown = {}
        for kind in ("images", "inputs", "targets") if self.pairs else ("images",):
            (self._place(pl_module) / kind).mkdir(parents=True, exist_ok=True)

    def _place(self, model: ImageTranslationModule) -> Path:
        return self.folders.get(model.test_split, self.others) / model.test_split

    def on_test_batch_end(  # type: ignore[override]
        self,
        trainer: Trainer,
        pl_module: ImageTranslationModule,
        outputs: Tensor,
        batch: dict[str, Any],
        *_: Any,
        **__: Any,
    ) -> None:
        place = self._place(pl_module)
        inputs, targets, outputs = to_uint8(batch["input"]).cpu(), to_uint8(batch["target"]).cpu(), outputs.cpu()
        for name, source, target, output in zip(batch["name"], inputs, targets, outputs, strict=True):
            write_png(output, str(place / "images" / f"{name}.png"), COMPRESSION)
            if self.pairs:
                write_png(source, str(place / "inputs" / f"{name}.png"), COMPRESSION)
                write_png(target, str(place / "targets" / f"{name}.png"), COMPRESSION)
            if len(self.shown) < self.table_images:
                images = {"input": source, "target": target, "output": output}
                self.shown[name] = {"name": name} | {key: to_pil_image(value) for key, value in images.items()}

    def on_test_end(self, trainer: Trainer, pl_module: ImageTranslationModule) -> None:  # type: ignore[override]
        if not trainer.is_global_zero:
            return
        split = pl_module.test_split
        scores, baseline = pl_module.scores[split], pl_module.scores["identity"]
        folder = self._place(pl_module)
        for file, table in {"per_image.csv": scores, "identity.csv": baseline}.items():
            columns = ["name", *next(iter(table.values()))]
            write_csv(folder / file, [{"name": name} | row for name, row in table.items()], columns)
        means = {name if "/" in name else f"{split}/{name}": value for name, value in mean_metrics(scores).items()}
        identity = {f"identity/{name}": value for name, value in mean_metrics(baseline).items()}
        write_json(folder / "metrics.json", means | identity | {"images": len(scores)})
        rows = [row | scores[name] for name, row in self.shown.items()]
        if rows:
            log_rows(trainer.loggers, f"{split}/images", rows, trainer.global_step)
