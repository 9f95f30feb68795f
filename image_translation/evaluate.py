"""Test a run's best checkpoint again, on any split, and by the study's formulas if asked.

python -m image_translation.evaluate run=outputs/comic/pix2pix/2026-01-31_12-00-00 split=all protocol=report
"""

import logging
from pathlib import Path
from typing import Any

from hydra.utils import get_class
from omegaconf import DictConfig, ListConfig, OmegaConf

from image_translation.cli.app import command, folder_of, instantiate
from image_translation.cli.errors import UserError, command_line
from image_translation.cli.values import check_values, chosen_splits
from image_translation.metrics.names import leading
from image_translation.runs.config import compose_saved, require_unchanged
from image_translation.runs.folder import BEST_CHECKPOINT, read_manifest, trained_run

log = logging.getLogger(__name__)


@command("evaluate")
def main(cfg: DictConfig) -> float:
    check_values(cfg)
    # Imported here, because --help and --cfg must not wait for torch.
    from image_translation.callbacks import EpochProgress, TestResultsWriter
    from image_translation.callbacks.perceptual import Perceptual
    from image_translation.data.sample import sample_folder
    from image_translation.inference.checkpoints import interpolate, load
    from image_translation.training.evaluation import evaluate
    from image_translation.training.trainer import make_trainer, silence_lightning

    silence_lightning()
    splits = chosen_splits("split", cfg.split)
    source = trained_run(str(folder_of("run", cfg.run)))
    exported = load(source) if source.is_file() else None
    folder = run_of(exported, source) if exported else source
    manifest = read_manifest(folder)
    if not (folder / "checkpoints" / BEST_CHECKPOINT).exists():
        raise UserError(f"{folder}: this run is {manifest['status']} and has no best checkpoint yet. "
                        f"Resume it first: {command_line('train', resume=folder)}")  # fmt: skip
    if exported and cfg.output is None:
        raise UserError("Name a folder for the results of an exported file: output=…")
    if manifest["status"] != "finished":
        log.warning("This run is %s; its best checkpoint so far is evaluated.", manifest["status"])
    output = folder / "evaluate" if cfg.output is None else folder_of("output", cfg.output)
    for split in splits:
        if cfg.output is not None and (output / split).exists():
            raise UserError(f"{output / split} exists, and nothing is overwritten. Name another folder: output=…")

    trained, _ = compose_saved(folder)
    require_unchanged(folder, trained, parts=("data", "model"))
    get_class(trained.model._target_)  # imports the user's own
    model = load(folder)
    if exported:
        exported.baselines.load_state_dict(model.baselines.state_dict())
        model = exported
    if cfg.alpha is not None:
        if cfg.output is None:
            raise UserError("With alpha=… it is another model than the run's. Name a folder for the results: output=…")
        interpolate(model, cfg.alpha)
    trained.data.root = cfg.data.root or manifest["data"]["root"]
    if manifest["data"]["sample"] and not cfg.data.root:
        trained.data.root = str(sample_folder(trained.data.task))
    trained.data.batch_size = 1  # of training, which may have been auto
    datamodule = instantiate(trained.data, "data")
    datamodule.setup()
    datamodule.require(*splits)
    was, now = manifest["data"]["fingerprint"], datamodule.description["fingerprint"]
    if was != now and not (cfg.output and cfg.data.root):
        raise UserError(
            f"{datamodule.description['root']}: these are not the images of the run (fingerprint {now[:12]} instead "
            f"of {was[:12]}). To evaluate on other images name them, and a folder for the results: data.root=… output=…"
        )

    kinds = list(cfg.perceptual) if isinstance(cfg.perceptual, ListConfig) else [cfg.perceptual]
    callbacks = [EpochProgress(cfg.progress), *([Perceptual(kinds)] if kinds else []), TestResultsWriter(str(output))]
    OmegaConf.update(cfg, "trainer.precision", cfg.trainer.precision or manifest.get("precision", "auto"))
    trainer = make_trainer(cfg.trainer, callbacks, limit_test_batches=trained.trainer.limit_test_batches)
    scores = evaluate(trainer, model, datamodule, manifest["model"], splits, cfg.protocol)
    return scores[splits[0]][leading(scores[splits[0]])]


def run_of(exported: Any, source: Path) -> Path:
    """The run folder that an exported file is of, which knows the data; UserError if it says none."""
    folder = getattr(exported, "about", {}).get("run")
    if folder is None or not Path(folder).expanduser().is_dir():
        raise UserError(f"{source}: evaluate takes a run folder, or a file exported from one that is still there and "
                        f"knows the data (here: {folder}).")  # fmt: skip
    return Path(folder).expanduser()


if __name__ == "__main__":
    main()
