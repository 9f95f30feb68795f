"""Paired image-to-image translation: train, compare and use Pix2Pix and a U-Net autoencoder."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["load"]

if TYPE_CHECKING:
    from image_translation.inference.checkpoints import load


def __getattr__(name: str) -> Any:
    """Import torch only when it is needed: ``--help`` must not wait for it."""
    if name == "load":
        from image_translation.inference.checkpoints import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
