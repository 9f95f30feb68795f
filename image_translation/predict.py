"""Predict images by a trained model, each at its own size. They are a file, a folder, a pattern or a list.

python -m image_translation.predict run=outputs/… input=photos output=comics
"""

import logging
import time
from pathlib import Path

from hydra.utils import get_class
from omegaconf import DictConfig

from image_translation.cli.app import command, folder_of, instantiate
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
    from image_translation.cli.console import file_progress
    from image_translation.data.sources.base import bullets
    from image_translation.inference.checkpoints import interpolate, load
    from image_translation.inference.files import Outcome, find_files, plan, predict_files
    from image_translation.inference.predictor import Predictor
    from image_translation.training.device import choose_precision, device_type, prepare_device

    refuse_inside(str(cfg.input), output)
    jobs = plan(find_files(str(cfg.input)), output, cfg.format, cfg.if_exists)
    if not jobs:
        print(f"{output}: all files are there already.")
        return
    prepare_device(cfg.device)
    if (source / MANIFEST).exists():
        trained, _ = compose_saved(source)
        get_class(trained.model._target_)  # imports the user's own
    model = load(source, device_type(cfg.device))
    if cfg.alpha is not None:
        interpolate(model, cfg.alpha)
    derive = cfg.derive
    if (source / MANIFEST).exists():  # so that a function of the user's own is found
        datamodule = instantiate(trained.data, "data")
        model.trained_on = datamodule.facts
        derive = derive and datamodule.facts["derive"] is not None and datamodule.derive
    predictor = Predictor(model, cfg.size, cfg.tile, cfg.tta, derive, choose_precision(cfg.precision, cfg.device))
    if predictor.derive:
        name = model.trained_on["derive"]["name"]
        log.info("Inputs are computed by %s (derive=false takes images as they are).", name)
    start, outcome = time.monotonic(), Outcome()
    with file_progress(len(jobs)) as show:
        for outcome in predict_files(predictor, jobs, cfg.transparency, cfg.side_by_side):
            show(outcome.done + len(outcome.failed))
    seconds = time.monotonic() - start
    print(f"{output}: {outcome.done} images, {outcome.done / seconds:.1f} a second.")
    if outcome.failed:
        raise UserError(f"{len(outcome.failed)} of {len(jobs)} files were not predicted:{bullets(outcome.failed)}")


def refuse_inside(source: str, output: Path) -> None:
    """Raise a UserError if the output folder is in the input folder: the next call would predict the outputs."""
    folder = Path(source).expanduser()
    if folder.is_dir() and output.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"output={output} is inside input={source}. Name a folder outside of it.")


if __name__ == "__main__":
    main()
