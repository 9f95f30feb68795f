"""Folders outside of a project."""

import os
from pathlib import Path


def cache_home() -> Path:
    """The folder for files that can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "image_translation"
