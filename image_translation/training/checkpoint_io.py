"""Checkpoints are written whole or not at all."""

import errno
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from image_translation.cli.errors import UserError
from image_translation.runs.files import atomic_write


class SafeCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside the one that it replaces, which stays until the new one is on the disk."""

    def __init__(self) -> None:
        self.folders: set[Path] = set()  # that this training has made

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        path = Path(path)
        gone = [folder for folder in (path.parent.parent, *self.folders & {path.parent}) if not folder.is_dir()]
        if gone:
            raise UserError(f"{gone[0]} is gone, so the state of training can't be saved, and the run ends here.")
        path.parent.mkdir(exist_ok=True)
        self.folders.add(path.parent)
        try:
            with atomic_write(path) as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:  # torch hides the system's reason
            raise UserError(_why_not_written(path, error)) from error


def _why_not_written(path: Path, error: Exception) -> str:
    chain: list[BaseException] = [error]
    while link := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(link)
    reasons = [link for link in chain if isinstance(link, OSError)]
    reason = (reasons[-1].strerror or str(reasons[-1])) if reasons else str(error).splitlines()[0]
    last = " The one written before is intact." if path.exists() else ""
    advice = " Make room, and go on with resume=…" if reasons and reasons[-1].errno == errno.ENOSPC else ""
    return f"{path} can't be written: {reason}.{last}{advice}"
