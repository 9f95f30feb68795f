"""What trains: LightningModules. Every module in this folder is imported, so that its models can be loaded by name."""

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

from image_translation.models.autoencoder import UNetAutoencoder  # noqa: E402
from image_translation.models.base import ImageTranslationModule  # noqa: E402
from image_translation.models.identity import Identity  # noqa: E402
from image_translation.models.pix2pix import Pix2Pix  # noqa: E402

__all__ = ["Identity", "ImageTranslationModule", "Pix2Pix", "UNetAutoencoder"]
