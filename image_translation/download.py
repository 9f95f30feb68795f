"""Fetch a data set and lay it out for training.

python -m image_translation.download name=facades
"""

import errno
import hashlib
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from image_translation.cli.app import command, folder_of
from image_translation.cli.errors import UserError, at_least, one_of
from image_translation.runs.files import read_json, write_json

log = logging.getLogger(__name__)
MARK = ".download.json"  # in a folder that was fetched whole
TORCHVISION = "torchvision."


@command("download")
def main(cfg: DictConfig) -> None:
    sets: Any = OmegaConf.to_container(cfg.sets)
    name, output = str(cfg.name), folder_of("output", cfg.output).absolute()
    at_least("retries", cfg.retries, 0, whole=True)
    if name.startswith(TORCHVISION):
        from image_translation.fetching.photos import export

        download({"name": name}, output, lambda folder: export(name.removeprefix(TORCHVISION), folder))
        command_line = "task=coloring"
    else:
        from image_translation.fetching.archives import fetch

        known = sets[one_of("name", name, [*sets, TORCHVISION + "<class>"])]
        archives = known["archives"]
        download({"name": name, "archives": archives}, output, lambda folder: fetch(archives, folder, cfg.retries))
        command_line = known["train"]
    print(f"python -m image_translation.check {command_line} data.root={output}")
    print(f"python -m image_translation.train {command_line} data.root={output}")


def download(what: dict[str, Any], output: Path, fill: Callable[[Path], None]) -> None:
    """Let ``fill`` put images into a new folder, which becomes ``output`` when it is complete, and not before.

    Args:
        what: a description of the set; a folder that was made from the same one is left as it is.
        output: the folder.
        fill: gets an empty folder.

    Raises:
        UserError: ``output`` holds something else, or cannot be made.
    """
    from filelock import FileLock

    from image_translation.data.places import cache_home

    cache_home().mkdir(parents=True, exist_ok=True)
    place = hashlib.sha256(str(output).encode()).hexdigest()[:16]
    with FileLock(cache_home() / f"download-{place}.lock"):
        if output.exists():
            if _made_from(output) != what:
                raise UserError(f"{output} exists, and is not this set; name another folder: output=…")
            print(f"{output} is there already.")
        else:
            scratch = output.with_name(f".{output.name}.part")
            shutil.rmtree(scratch, ignore_errors=True)  # of an attempt that was killed
            parent_is_new = not output.parent.exists()
            try:
                scratch.mkdir(parents=True)
                fill(scratch)
                write_json(scratch / MARK, what)
                scratch.rename(output)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise UserError(f"The disk of {output.parent} is full; nothing was kept.") from error
                raise
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
                if parent_is_new and output.parent.is_dir() and not any(output.parent.iterdir()):
                    output.parent.rmdir()
            print(f"{output}: {sum(1 for path in output.rglob('*') if path.is_file()) - 1} files.")


def _made_from(folder: Path) -> Any:
    """The description of the set in a folder; None if there is none."""
    mark = folder / MARK
    try:
        return read_json(mark) if mark.exists() else None
    except ValueError as error:
        raise UserError(f"{mark} is damaged; remove {folder}, or name another folder: output=…") from error


if __name__ == "__main__":
    main()
