"""Where the pairs of a task are, and which there are."""

import logging
from pathlib import Path
from typing import Any

from image_translation.cli.errors import UserError
from image_translation.data.sample import SAMPLE_TASKS, sample_folder
from image_translation.data.sources.base import Found, PairSource

log = logging.getLogger(__name__)


def scan(source: PairSource, root: str | None, task: str, **division: Any) -> tuple[Found, Path | str, bool]:
    """What the source finds at a root, see ``PairSource.scan``; the root, and whether it is the built-in sample's."""
    if source.is_remote:
        if not root:
            raise UserError("layout=hub: name a folder, an address or a name on the hub: data.root=…")
        return source.scan(root, **division), root, False
    folder, is_sample = find_root(root, task)
    others = [other for other in tasks_with_folders(folder) if other != task]
    hint = f" Is it for task={' or '.join(others)}?" if others else ""
    try:
        found = source.scan(folder, **division)
    except UserError as error:
        raise UserError(f"{error}{hint}") from error
    if hint and not (source.target_folder or source.table):
        log.warning("%s has the folders of another task, and all its images are used.%s", folder, hint)
    return found, folder, is_sample


def find_root(root: str | None, task: str) -> tuple[Path, bool]:
    """The folder of the pairs, and whether it is the built-in sample's; a UserError if the task has none."""
    own = Path(root or f"data/{task}").expanduser()
    if root or own.is_dir():
        return own, False
    if task not in SAMPLE_TASKS:
        advice = "Name the folder with your pairs: data.root=…"
        raise UserError(f"data.root is not set, and there is no folder {own}. {advice}")
    filtered = f"; their {task} targets are made by image filters" if len(SAMPLE_TASKS[task]) > 1 else ""
    log.warning("data.root is not set: using the built-in sample, a few photos%s.", filtered)
    return sample_folder(task), True


def tasks_with_folders(root: Path) -> list[str]:
    """Tasks whose folders a root has."""
    return [
        task
        for task, folders in SAMPLE_TASKS.items()
        if all(folder and any((root / part / folder).is_dir() for part in ("", "train")) for folder in folders)
    ]
