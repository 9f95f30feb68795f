"""``metrics.csv``: one row an epoch."""

from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, Trainer

from image_translation.models import ImageTranslationModule
from image_translation.runs.files import write_csv


class MetricsCSV(Callback):
    """Writes the means of each epoch; ``epoch`` and ``step`` count those done.

    Args:
        path: the file.
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self.rows: list[dict[str, float]] = []
        self.validated = False

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = state_dict["rows"]

    def on_validation_end(self, trainer: Trainer, pl_module: ImageTranslationModule) -> None:  # type: ignore[override]
        self.validated = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: ImageTranslationModule) -> None:  # type: ignore[override]
        means = pl_module.epoch_means()  # an exchange between devices
        if not trainer.is_global_zero:
            return
        values = {name: value.item() for name, value in trainer.callback_metrics.items()} | means
        row = {
            name: float(f"{value:.6g}")
            for name, value in values.items()
            # Lightning also gives each mean a name with a suffix. Values of an earlier validation stay out.
            if name not in ("epoch", "step")
            and not name.endswith(("_step", "_epoch"))
            and (self.validated or not name.startswith("val/"))
        }
        self.rows.append({"epoch": trainer.current_epoch + 1, "step": trainer.global_step} | row)
        self.validated = False
        names = sorted({name for row in self.rows for name in row} - {"epoch", "step"})
        write_csv(self.path, self.rows, ["epoch", "step", *names])
