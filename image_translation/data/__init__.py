"""Pairs of images: on disk, in splits, as batches on the device."""

from image_translation.data.datamodule import PairedImageDataModule

__all__ = ["PairedImageDataModule"]
