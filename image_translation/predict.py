"""Predict images by a trained model, each at its own size. They are a file, a folder, a pattern or a list.

python -m image_translation.predict run=outputs/… input=photos output=comics
"""

import logging
import time
from pathlib import Path

from hydra.utils import get_class
from omegaconf import DictConfig
from rich.progress import track

from image_translation.cli.app import command, folder_of, instantiate
from image_translation.cli.console import console
from image_translation.cli.errors import UserError
from image_translation.cli.values import PREDICT, check_values
from image_translation.runs.config import compose_saved
from image_translation.runs.folder import MANIFEST, trained_run

log = logging.getLogger(__name__)


@command("predict")
def main(cfg: DictConfig) -> None:
    check_values(cfg, PREDICT)
    source, output = trained_run(str(folder_of("run", cfg.run))), folder_of("output", cfg.output)
    # Imported here, because --help and --cfg must not wait for torch.
    from image_translation.data.derived_inputs import describe
    from image_translation.data.sources.base import bullets
    from image_translation.inference.checkpoints import interpolate, load
    from image_translation.inference.files import find_files, plan, predict_files
    from image_translation.inference.predictor import Predictor
    from image_translation.training.device import choose_precision, device_type, prepare_device

    refuse_inside(str(cfg.input), output)
    jobs = plan(find_files(str(cfg.input)), output, cfg.format, cfg.if_exists)
    if not jobs:
        print(f"{output}: all files are there already.")
        return
    prepare_device(cfg.device)
    derive = cfg.derive
    if (source / MANIFEST).exists():  # the model, and what computes its inputs, may be the user's own
        trained, _ = compose_saved(source)
        get_class(trained.model._target_)
        datamodule = instantiate(trained.data, "data")
        derive = derive and datamodule.facts["derive"] is not None and datamodule.derive
    model = load(source, device_type(cfg.device))
    if cfg.alpha is not None:
        interpolate(model, cfg.alpha)
    predictor = Predictor(model, cfg.size, cfg.tile, cfg.tta, derive, choose_precision(cfg.precision, cfg.device))
    if known := describe(predictor.derive):
        log.info("Inputs are computed by %s (derive=false takes images as they are).", known["name"])

    start, quiet = time.monotonic(), not console().is_terminal
    messages = predict_files(predictor, jobs, cfg.transparency, cfg.side_by_side)
    failed = [message for message in track(messages, "Predicting", len(jobs), transient=True, disable=quiet) if message]
    done = len(jobs) - len(failed)
    print(f"{output}: {done} images, {done / (time.monotonic() - start):.2g} a second.")
    if failed:
        raise UserError(f"{len(failed)} of {len(jobs)} files were not predicted:{bullets(failed)}")


def refuse_inside(source: str, output: Path) -> None:
    """Raise a UserError if the output folder is in the input folder: the next call would predict the outputs."""
    folder = Path(source).expanduser()
    if folder.is_dir() and output.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"output={output} is inside input={source}. Name a folder outside of it.")


if __name__ == "__main__":
    main()
