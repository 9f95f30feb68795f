"""Predict images by a trained model, each at its own size. They are a file, a folder, a pattern or a list; videos too.

python -m image_translation.predict run=outputs/comic/pix2pix/2026-01-31_12-00-00 input=photos output=comics
"""

import logging
import time

from omegaconf import DictConfig, ListConfig

from image_translation.cli.app import command, folder_of
from image_translation.cli.console import per_second
from image_translation.cli.values import PREDICT, check_values
from image_translation.runs.folder import trained_run

log = logging.getLogger(__name__)


@command("predict")
def main(cfg: DictConfig) -> None:
    check_values(cfg, PREDICT)
    source, output = trained_run(str(folder_of("run", cfg.run))), folder_of("output", cfg.output)
    # Imported here, because --help and --cfg must not wait for torch.
    from image_translation.data.derived_inputs import describe
    from image_translation.data.kinds import RGB
    from image_translation.inference.checkpoints import interpolate
    from image_translation.inference.files import predict_jobs, raise_failed
    from image_translation.inference.opening import open_model
    from image_translation.inference.planning import plan
    from image_translation.inference.predictor import Predictor
    from image_translation.training.device import choose_precision, prepare_device

    prepare_device(cfg.device)
    model, derive = open_model(source, cfg.device)
    kinds = model.input_kind, RGB if cfg.side_by_side else model.target_kind
    inputs = list(map(str, cfg.input)) if isinstance(cfg.input, ListConfig) else str(cfg.input)
    jobs = plan(inputs, output, cfg.format, cfg.if_exists, kinds)
    if not jobs:
        print(f"{output}: all files are there already.")
        return
    if cfg.alpha is not None:
        interpolate(model, cfg.alpha)
    precision = choose_precision(cfg.precision, cfg.device)
    predictor = Predictor(model, cfg.size, cfg.tile, cfg.tta, cfg.derive and derive, precision)
    if known := describe(predictor.derive):
        log.info("Inputs are computed by %s (derive=false takes images as they are).", known["name"])
    start = time.monotonic()
    failed = predict_jobs(predictor, jobs, cfg.transparency, cfg.side_by_side, cfg.smooth)
    done = len(jobs) - len(failed)
    print(f"{output}: {done} files, {per_second(done, time.monotonic() - start)} a second.")
    raise_failed(failed, len(jobs))


if __name__ == "__main__":
    main()
