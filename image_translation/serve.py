"""Open a web page on which to try trained models on images.

python -m image_translation.serve run=outputs/comic/pix2pix/2026-01-31_12-00-00
"""

import logging
import os
import tempfile
from pathlib import Path

from omegaconf import DictConfig, ListConfig

from image_translation.cli.app import command, folder_of
from image_translation.cli.errors import UserError
from image_translation.cli.values import SERVE, check_values
from image_translation.runs.folder import test_images, trained_run

EXAMPLES = 12


@command("serve")
def main(cfg: DictConfig) -> None:
    check_values(cfg, SERVE)
    names = cfg.run if isinstance(cfg.run, ListConfig) else [cfg.run]
    runs = [trained_run(str(folder_of("run", name))) for name in names]
    # Imported here, because --help and --cfg must not wait for torch.
    from image_translation.inference.opening import open_model
    from image_translation.inference.predictor import Predictor
    from image_translation.training.device import choose_precision, prepare_device

    prepare_device(cfg.device)
    opened = {str(run): open_model(run, cfg.device) for run in runs}
    precision = choose_precision(cfg.precision, cfg.device)

    def predictor_for(run: str, size: str) -> Predictor:
        model, derive = opened[run]
        return Predictor(model, size, cfg.tile, derive=derive, precision=precision)

    examples = list[Path]()
    for run in runs:
        kind = "targets" if predictor_for(str(run), "native").derive else "inputs"
        examples += test_images(run, kind)[: EXAMPLES // len(runs)]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder  # before Gradio is imported; so nothing remains of uploads
        try:
            from image_translation.inference.page import THEME, make_page
        except ImportError as error:
            raise UserError(f"serve needs Gradio: pip install '.[demo]' ({error}).") from error
        for name in ("httpx", "httpx2"):  # Gradio looks whether its page is there
            logging.getLogger(name).setLevel(logging.WARNING)
        page = make_page([*opened], examples, predictor_for, int(cfg.max_megapixels * 1e6), Path(folder))
        try:
            _, address, shared = page.launch(
                server_name=cfg.host, server_port=cfg.port, share=cfg.share, max_file_size=f"{cfg.max_megabytes}mb",
                theme=THEME, footer_links=[], quiet=True, show_error=True, prevent_thread_lock=True,
            )  # fmt: skip
        except (OSError, OverflowError) as error:
            raise UserError(f"host={cfg.host} port={cfg.port}: in use, or no address of this machine. "
                            "port=null takes a free one.") from error  # fmt: skip
        print(f"{address}{f' and {shared}' if shared else ''}   (Ctrl-C ends it)", flush=True)
        page.block_thread()


if __name__ == "__main__":
    main()
