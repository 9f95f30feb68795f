"""Checkpoints are on the disk complete, or the one before them is."""

import io
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from image_translation.runs.files import atomic_write


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside the one that it replaces.

    Lightning's own writes it to the folder of temporary files and moves it from there: where that is another disk, the
    move is a copy over the previous checkpoint, which a full disk or a kill leaves cut off.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        content = io.BytesIO()
        torch.save(checkpoint, content)
        path = Path(path)
        path.parent.mkdir(exist_ok=True)  # but not the run folder: if it was removed, that is an error
        with atomic_write(path) as file:
            file.write(content.getbuffer())
