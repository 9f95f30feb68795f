"""The results of a test: every image, its scores, and their means."""

import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from PIL import Image
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.loggers import WandbLogger
from torch import Tensor
from torchvision.io import write_png
from torchvision.transforms.functional import to_pil_image

from image_translation.callbacks.overview import draw_curves, draw_results, stack, val_baselines
from image_translation.cli.errors import at_least
from image_translation.data.kinds import Kind, to_image, to_shown
from image_translation.data.transforms import from_float
from image_translation.data.values import encode
from image_translation.metrics.image_scores import Scores
from image_translation.metrics.names import HIGHER_IS_BETTER, SHARPNESS, title
from image_translation.runs.files import atomic_write, write_csv, write_json
from image_translation.runs.folder import METRICS_CSV, RESULTS_IMAGE

HEADING = {name: f"test/{name}" for name in HIGHER_IS_BETTER} | {SHARPNESS: SHARPNESS}
COMPRESSION = 1  # the default, 6, takes three times as long for files that are 3 % smaller


class TestResultsWriter(Callback):
    """Writes ``metrics.json``, ``per_image.csv`` and ``images/<name>.png``, and logs a table of images with scores.

    ``results.png`` shows the images of the split ``test`` with the best, the median and the worst PSNR, and above them,
    at the end of a training, its curves.

    Where 8 bits can't hold them, the outputs' values are in ``values``, and ``images`` shows them.

    Beside them stand the baselines' scores, ``color_curve.csv`` and ``identity.csv`` (or ``mean_target.csv``), and what
    the model saw, in ``inputs`` and ``targets``.

    Args:
        dirpath: where the results go, in a folder with the split's name.
        others: the same for other splits than ``test``; None for ``dirpath``.
        table_images: how many images the logged table shows.
        pairs: whether to write ``inputs``, ``targets`` and ``results.png`` too; ``compare`` shows the first two.
    """

    def __init__(self, dirpath: str, others: str | None = None, table_images: int = 50, pairs: bool = True) -> None:
        at_least("table_images", table_images, 0, whole=True)
        self.dirpath, self.others = Path(dirpath), Path(others or dirpath)
        self.table_images, self.pairs = table_images, pairs
        self.overview = self.dirpath / RESULTS_IMAGE
        self.folder = self.dirpath  # of the split that is tested
        self.rows: dict[str, dict[str, Any]] = {}  # of the logged table
        self.writing: list[Future[None]] = []

    def on_test_start(self, trainer: Trainer, pl_module: Any) -> None:
        split = pl_module.test_split
        self.folder = (self.dirpath if split == "test" else self.others) / split
        self.rows = {}
        folders = ["images", *(("inputs", "targets") if self.pairs else ())]
        for name in folders if pl_module.target_kind.is_8_bit else [*folders, "values"]:
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.pool = ThreadPoolExecutor(os.cpu_count())

    def on_test_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, *_: Any, **__: Any) -> None:
        input_kind, kind = pl_module.input_kind, pl_module.target_kind
        inputs, targets, outputs = (
            from_float(batch["input"], input_kind).cpu(), from_float(batch["target"], kind).cpu(), outputs.cpu()
        )  # fmt: skip
        self.wait()
        for name, source, target, output in zip(batch["name"], inputs, targets, outputs, strict=True):
            self.write(output, kind, self.folder / "images" / f"{name}.png")
            if not kind.is_8_bit:
                content = encode(output.permute(1, 2, 0).contiguous().numpy(), kind, kind.suffix)
                (self.folder / "values" / f"{name}{kind.suffix}").write_bytes(content)
            if self.pairs:
                self.write(source, input_kind, self.folder / "inputs" / f"{name}.png")
                self.write(target, kind, self.folder / "targets" / f"{name}.png")
            if len(self.rows) < self.table_images:
                images = {"input": (source, input_kind), "target": (target, kind), "output": (output, kind)}
                self.rows[name] = {"name": name} | {key: to_pil_image(to_shown(*i)) for key, i in images.items()}

    def write(self, *image: Any) -> None:
        """Write an image while the next batch is computed."""
        self.writing.append(self.pool.submit(write_image, *image))

    def wait(self) -> None:
        for future in self.writing:
            future.result()
        self.writing.clear()

    def on_test_end(self, trainer: Trainer, pl_module: Any) -> None:
        self.wait()
        self.pool.shutdown()
        if not trainer.is_global_zero:
            return
        split, loggers = pl_module.test_split, [one for one in trainer.loggers if isinstance(one, WandbLogger)]
        names = pl_module.baselines.names
        scores, baselines = pl_module.results[split], {name: pl_module.results[name] for name in names}
        for file, table in {"per_image": scores, **baselines}.items():
            columns = ["name", *next(iter(table.values()))]
            write_csv(self.folder / f"{file}.csv", [{"name": name} | row for name, row in table.items()], columns)
        means = {
            name if "/" in name else f"{split}/{name}": value for name, value in pl_module.mean_metrics(split).items()
        }
        for baseline in names:
            of_baseline = pl_module.mean_metrics(baseline) | pl_module.extra_metrics.get(baseline, {})
            means |= {f"{baseline}/{name}": value for name, value in of_baseline.items()}
        means |= pl_module.extra_metrics.get("", {})
        write_json(self.folder / "metrics.json", means | {"images": len(scores)})
        if split == "test" and self.pairs:
            overview = self._overview(trainer, pl_module, scores, means)
            with atomic_write(self.overview) as png:
                overview.save(png, "PNG")
            for logger in loggers:
                logger.log_image("results", [overview], step=trainer.global_step)
        if self.rows and loggers:
            import wandb  # it takes a second, and not every run has it

            rows = [row | scores[name] for name, row in self.rows.items()]
            data = [[wandb.Image(v) if isinstance(v, Image.Image) else v for v in row.values()] for row in rows]
            for logger in loggers:
                logger.log_table(f"{split}/images", list(rows[0]), data, step=trainer.global_step)

    def _overview(self, trainer: Trainer, model: Any, scores: dict[str, Scores], means: Scores) -> Image.Image:
        images = draw_results(self.folder, scores)
        metrics = self.dirpath / METRICS_CSV
        if not metrics.exists():
            return images
        baselines = val_baselines(model, trainer)
        heading = ", ".join(f"{title(name)} {means[key]:.3f}" for name, key in HEADING.items() if key in means)
        return stack(draw_curves(metrics, baselines, f"test: {heading}"), images)


def write_image(image: Tensor, kind: Kind, path: Path) -> None:
    """Write stored values (C, H, W) as an image file: as they are, if 8 bits can hold them, or as eyes see them."""
    if kind.name == "mask":
        to_image(image.permute(1, 2, 0).numpy(), kind).save(path)
    elif image.shape[0] in (1, 3) and kind.is_8_bit:
        write_png(image, str(path), COMPRESSION)
    elif kind.is_8_bit:
        to_image(image.permute(1, 2, 0).contiguous().numpy(), kind).save(path, compress_level=COMPRESSION)
    else:
        write_png(to_shown(image, kind), str(path), COMPRESSION)
