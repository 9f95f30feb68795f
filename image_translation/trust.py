"""What a file may name: a run's config says which classes to construct, and a stranger may have written it."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from image_translation.command import CONF
from image_translation.errors import UserError


def require_known_targets(config: DictConfig, file: Path, own: Iterable[str], advice: str) -> None:
    """Check that a config read from a file names only what this project's own configs name, before it is used.

    Args:
        config: as it stands in the file.
        file: for the message.
        own: names that the user has given.
        advice: how to give one.

    Raises:
        UserError: it names something else.
    """
    known = {target for path in CONF.rglob("*.yaml") for target in targets(OmegaConf.load(path))}
    for key, text in _texts(OmegaConf.to_container(config, resolve=False)):
        if not key.startswith("run.") and re.search(r"\$\{[^{}]*:", text):  # such as oc.env
            raise UserError(f"{file}: {key} is {text!r}, which would look into your surroundings, so nothing was run.")
    for target in targets(config):
        if target not in known.union(own):
            raise UserError(
                f"{file} names {target!r}, which is no part of this project, so nothing was run. "
                f"If it is your own, {advice}."
            )


def _texts(node: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """All texts in a config, with their places."""
    if isinstance(node, str):
        yield key, node
    elif isinstance(node, dict | list):
        for name, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _texts(value, f"{key}.{name}" if key else str(name))


def targets(node: Any) -> Iterator[str]:
    """All that a config would have constructed or called."""
    if OmegaConf.is_config(node):
        node = OmegaConf.to_container(node, resolve=False)
    if isinstance(node, dict):
        if "_target_" in node:
            yield str(node["_target_"])
        for value in node.values():
            yield from targets(value)
    elif isinstance(node, list):
        for value in node:
            yield from targets(value)
