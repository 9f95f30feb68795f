"""Paired image-to-image translation: train, compare and use Pix2Pix, a U-Net autoencoder and a residual U-Net."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["load", "predict_folder"]
PLACES = {"load": "checkpoints", "predict_folder": "files"}

if TYPE_CHECKING:
    from image_translation.inference.checkpoints import load
    from image_translation.inference.files import predict_folder


def __getattr__(name: str) -> Any:
    """Import torch only when it is needed: ``--help`` must not wait for it."""
    if name in PLACES:
        return getattr(import_module(f"image_translation.inference.{PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
