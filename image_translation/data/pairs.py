"""The pairs of each split, from any way of storing them."""

import hashlib
import logging
from collections.abc import Iterable
from pathlib import Path

from image_translation.cli.errors import UserError
from image_translation.data.sources.base import PAIRING_ERRORS, SPLITS, Found, PairingError, PairSource

log = logging.getLogger(__name__)


def scan(source: PairSource, root: Path, val_fraction: float, test_fraction: float) -> Found:
    """The pairs of each split, and what keeps other files from being pairs.

    A split that is not stored is taken out of train by a hash of the pair's name, so that adding images never moves a
    pair from one split to another. If there is nothing at all, that is a UserError.
    """
    if not root.is_dir():
        raise UserError(f"data.root={root} {'is not a folder' if root.exists() else 'does not exist'}.")
    stored, errors = source.scan(root)
    splits = {split: stored.get(split, []) for split in SPLITS}
    bounds = {"val": (test_fraction, test_fraction + val_fraction), "test": (0.0, test_fraction)}
    every, taken = splits["train"], set[str]()
    for split, (low, high) in bounds.items():
        if split not in stored:
            splits[split] = [pair for pair in every if low <= _position(pair.name) < high]
            taken.update(pair.name for pair in splits[split])
            use = "testing" if split == "test" else "validation"
            log.info("No %s %s: %d of %d training pairs are used for %s.",
                     split, source.split_unit, len(splits[split]), len(every), use)  # fmt: skip
    splits["train"] = [pair for pair in every if pair.name not in taken]
    return splits, errors


def raise_for(errors: list[PairingError]) -> None:
    """Raise a UserError that names all files that are not a pair, if there are any."""
    parts = []
    for kind, (heading, advice) in PAIRING_ERRORS.items():
        if texts := [error.text for error in errors if error.kind == kind]:
            parts.append(f"{heading}{bullets(texts)}\n{advice}")
    if parts:
        raise UserError("\n".join(parts))


def bullets(lines: Iterable[str], most: int = 50) -> str:
    """Lines as a bulleted list that says how many it leaves out."""
    lines = list(lines)
    shown = "".join(f"\n  - {line}" for line in lines[:most])
    return shown + (f"\n  … and {len(lines) - most} more" if len(lines) > most else "")


def _position(name: str) -> float:
    """A number in [0, 1) that depends on the name only."""
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:8], "big") / 2**64
