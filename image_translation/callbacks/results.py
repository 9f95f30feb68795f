"""The results of a test: every picture, its scores, and their means."""

from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, Trainer
from torch import Tensor
from torchvision.io import write_png
from torchvision.transforms.functional import to_pil_image

from image_translation.data.transforms import to_uint8
from image_translation.errors import at_least
from image_translation.loggers import log_rows
from image_translation.metrics import MEASURES, summarise
from image_translation.models import Translator
from image_translation.runs import write_csv, write_json


class Results(Callback):
    """Writes ``metrics.json``, ``per_image.csv`` and ``images/<name>.png``, and logs a table of pictures with scores.

    Args:
        folder: the run folder, in which the results go to a folder with the split's name.
        table_pictures: how many pictures the logged table shows.
    """

    def __init__(self, folder: str, table_pictures: int = 50) -> None:
        at_least("callbacks.results.table_pictures", table_pictures, 0, whole=True)
        self.folder, self.table_pictures = Path(folder), table_pictures
        self.shown: dict[str, dict[str, Any]] = {}

    def on_test_start(self, trainer: Trainer, pl_module: Translator) -> None:  # type: ignore[override]
        self.shown = {}
        self._images(pl_module).mkdir(parents=True, exist_ok=True)

    def _images(self, model: Translator) -> Path:
        return self.folder / model.test_split / "images"

    def on_test_batch_end(  # type: ignore[override]
        self, trainer: Trainer, pl_module: Translator, outputs: Tensor, batch: dict[str, Any], *_: Any, **__: Any
    ) -> None:
        for index, (name, output) in enumerate(zip(batch["name"], outputs.cpu(), strict=True)):
            write_png(output, str(self._images(pl_module) / f"{name}.png"))
            if len(self.shown) < self.table_pictures:
                halves = {half: to_pil_image(to_uint8(batch[half][index]).cpu()) for half in ("input", "target")}
                self.shown[name] = {"name": name, **halves, "output": to_pil_image(output)}

    def on_test_end(self, trainer: Trainer, pl_module: Translator) -> None:  # type: ignore[override]
        if not trainer.is_global_zero:
            return
        split = pl_module.test_split
        scores, baseline = pl_module.scores[split], pl_module.scores["identity"]
        folder = self.folder / split
        write_csv(folder / "per_image.csv", [{"name": name} | row for name, row in scores.items()],
                  ["name", *next(iter(scores.values()))])  # fmt: skip
        means = {name if "/" in name else f"{split}/{name}": value for name, value in summarise(scores).items()}
        identity = {f"identity/{name}": value for name, value in summarise(baseline).items() if name in MEASURES}
        write_json(folder / "metrics.json", means | identity | {"pictures": len(scores)})
        rows = [row | scores[name] for name, row in self.shown.items()]
        if rows:
            log_rows(trainer.loggers, f"{split}/pictures", rows)
