"""Folders outside of a project."""

import os
from pathlib import Path


def cache_home() -> Path:
    """Where this program keeps what it can make again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "image_translation"
