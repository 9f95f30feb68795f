"""Download a dataset and lay it out for training.

python -m image_translation.download name=facades
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from omegaconf import DictConfig

from image_translation.cli.app import command, folder_of
from image_translation.cli.errors import UserError, at_least, command_line, one_of

MARK = ".downloaded"  # a file with the dataset's name in a complete folder
TORCHVISION = "torchvision."


@command("download")
def main(cfg: DictConfig) -> None:
    from image_translation.fetching.datasets import fetch_archives, fetch_torchvision

    name, output = str(cfg.name), folder_of("output", cfg.output).absolute()
    at_least("retries", cfg.retries, 0, whole=True)
    if name.startswith(TORCHVISION):
        train, fill = "task=coloring", partial(fetch_torchvision, name.removeprefix(TORCHVISION))
    else:
        dataset = cfg.sets[one_of("name", name, [*cfg.sets, f"{TORCHVISION}<class>"])]
        train, fill = dataset.train, partial(fetch_archives, dataset.archives, cfg.retries)
    download(name, output, fill)
    for command_name in ("check", "train"):
        print(command_line(command_name, train, **{"data.root": output}))


def download(name: str, output: Path, fill: Callable[[Path], None]) -> None:
    """Let ``fill`` put a dataset's images into an empty folder, which becomes ``output`` once it is complete.

    Nothing happens if ``output`` holds the dataset already. UserError if it holds something else.
    """
    if output.exists():
        if not (output / MARK).is_file() or (output / MARK).read_text() != name:
            raise UserError(f"{output} exists and is not {name}. Choose another folder: output=…")
        print(f"{output} is complete already.")
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as scratch:
        folder = Path(scratch) / "images"
        folder.mkdir()
        fill(folder)
        print(f"{output}: {sum(path.is_file() for path in folder.rglob('*'))} images.")
        (folder / MARK).write_text(name)
        folder.rename(output)


if __name__ == "__main__":
    main()
