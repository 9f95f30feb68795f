"""Test a run's best checkpoint again, on any split, and by the study's formulas if asked.

python -m image_translation.evaluate run=outputs/… split=all protocol=report
"""

import logging
import math
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from image_translation.cli.app import CONF, command, folder_of, instantiate
from image_translation.cli.console import print_results
from image_translation.cli.errors import UserError, one_of
from image_translation.runs.files import read_json, write_json
from image_translation.runs.folder import read_config, read_manifest, require_no_way_out
from image_translation.training.trust import arguments, require_known_targets

log = logging.getLogger(__name__)
LARGEST = 1e300  # measure that is believed


@command("evaluate")
def main(cfg: DictConfig) -> None:
    # Imported here, because --help and --cfg must not wait for torch.
    import pytorch_lightning as pl

    from image_translation.callbacks import ProgressBar, TestResultsWriter
    from image_translation.data.sources.base import SPLITS
    from image_translation.data.sample import sample_folder
    from image_translation.inference.checkpoints import load
    from image_translation.metrics.image_scores import ImageScores, mean_metrics
    from image_translation.training.device import choose_precision, prepare_device
    from image_translation.training.session import silence_lightning

    silence_lightning()
    if OmegaConf.is_missing(cfg, "run"):
        raise UserError("run is not set; name the run folder: run=outputs/<task>/<model>/<date_time>")
    folder = folder_of("run", cfg.run)
    manifest = read_manifest(folder)
    splits = SPLITS if cfg.split == "all" else (one_of("split", cfg.split, (*SPLITS, "all")),)
    if "data" not in manifest:
        raise UserError(f"{folder}: this run {manifest['status']} before it had read its pairs, so there is no model.")
    if manifest["status"] != "finished":
        if not (folder / "checkpoints" / "best.ckpt").exists():
            raise UserError(f"{folder}: this run is {manifest['status']} and has no best checkpoint yet. "
                            f"Go on with it first: python -m image_translation.train resume={folder}")  # fmt: skip
        log.warning("This run is %s; its best checkpoint so far is taken.", manifest["status"])
    if cfg.output is None:
        require_no_way_out(folder)
    prepare_device(cfg.trainer.accelerator)
    precision: Any = cfg.trainer.precision or manifest.get("precision", "auto")
    precision = choose_precision(precision, cfg.trainer.accelerator)
    output = folder / "evaluate" if cfg.output is None else folder_of("output", cfg.output)
    for split in splits:
        if cfg.output is not None and (output / split).exists():
            raise UserError(f"{output / split} exists, and nothing is overwritten; name another folder: output=…")
    trained = read_config(folder)
    if not isinstance(cfg.trust, ListConfig):
        raise UserError(f"trust must be a list of names, got {cfg.trust!r}: trust=[my.module.Class]")
    file = folder / ".hydra" / "config.yaml"
    require_known_targets(trained, file, cfg.trust, "trust it: trust=[…]")
    known = trained.data if trained.data.get("_target_") in cfg.trust else OmegaConf.load(CONF / "data" / "pairs.yaml")
    trained.data = arguments(trained, "data", known, file)
    trained.trainer = arguments(trained, "trainer", OmegaConf.load(CONF / "trainer" / "default.yaml"), file)

    model = load(folder)
    expected = trained.model._target_.rpartition(".")[2]
    if type(model).__name__ != expected:
        raise UserError(f"{folder}: the checkpoint is of a {type(model).__name__}, but the run trained a {expected}.")
    model.metrics, model.baseline = ImageScores(cfg.protocol), ImageScores(cfg.protocol)

    if cfg.data.root:
        trained.data.root = cfg.data.root
    else:
        sample = manifest["data"]["sample"]
        trained.data.root = str(sample_folder(trained.data.task)) if sample else manifest["data"]["root"]
    trained.data.batch_size = 1  # of training, which may have been auto
    datamodule = instantiate(trained.data)
    datamodule.setup()
    datamodule.require(*splits)
    was, now = manifest["data"]["fingerprint"], datamodule.description["fingerprint"]
    if was != now and cfg.output is None:
        raise UserError(
            f"These are not the images of the run (fingerprint {now[:12]} instead of {was[:12]}). "
            "To measure on other images name a folder for the results: output=…"
        )

    callbacks: list[pl.Callback] = [ProgressBar(), TestResultsWriter(str(output))]
    if cfg.perceptual:
        from image_translation.callbacks.perceptual import Perceptual

        kinds = cfg.perceptual if isinstance(cfg.perceptual, ListConfig) else [cfg.perceptual]
        callbacks.append(perceptual := Perceptual(kinds))
    for split in splits:
        model.test_split = datamodule.test_split = split
        trainer = instantiate(
            cfg.trainer,
            precision=precision,
            callbacks=callbacks,
            limit_test_batches=trained.trainer.limit_test_batches if split == "test" else 1.0,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
        )
        file = output / split / "metrics.json"
        before = earlier_means(file)
        trainer.test(model, datamodule=datamodule, verbose=False)
        own = mean_metrics(model.scores[split])
        # What an earlier evaluation of these very images found stays.
        same = math.isclose(before.get(f"{split}/mse", -1), own["mse"], rel_tol=1e-4)  # GPUs differ in the last digits
        further = {name: value for name, value in before.items() if same and name.startswith("perceptual/")}
        if cfg.perceptual:
            further |= perceptual.values
        write_json(file, read_json(file) | further)
        own |= further
        scores = {manifest["model"]: own, "identity": mean_metrics(model.scores["identity"])}
        print_results(scores, split, output / split)


def earlier_means(file: Path) -> dict[str, float]:
    """What an earlier evaluation left; nothing if it is missing or damaged, because it is replaced."""
    try:
        content = read_json(file)
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {name: value for name, value in content.items() if isinstance(value, float | int) and abs(value) < LARGEST}


if __name__ == "__main__":
    main()
