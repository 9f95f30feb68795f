"""A whole check: the pairs of a data set, what was found, and the page that shows it."""

import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from image_translation.checking.duplicates import find_duplicates
from image_translation.checking.facts import FEW, Facts, gather, thumbnail
from image_translation.checking.findings import KINDS, Finding
from image_translation.checking.judge import judge_alignment, judge_colors
from image_translation.cli.errors import UserError
from image_translation.cli.pages import data_url, render
from image_translation.data import PairedImageDataModule
from image_translation.data.integrity import Decoded, decode, fingerprint
from image_translation.data.kinds import shown_image
from image_translation.data.sources.base import SPLITS, Pair

SIDE = 160  # pixels of an image on the page


@dataclass
class Check:
    """What a check found."""

    task: str
    root: Path | str
    fingerprint: str | None  # as in a run's manifest; None if training would refuse the data
    facts: list[Facts]
    findings: list[Finding]
    notes: list[str]  # what is worth knowing, and not wrong

    @property
    def problems(self) -> int:
        return sum(finding.severity == "problem" for finding in self.findings)

    @property
    def verdict(self) -> str:
        if not self.findings:
            return f"Nothing wrong with {len(self.facts)} pairs."
        return f"{len(self.facts)} pairs. Problems: {self.problems}. Warnings: {len(self.findings) - self.problems}."

    def as_json(self) -> dict[str, Any]:
        content: dict[str, Any] = {"task": self.task, "root": str(self.root), "fingerprint": self.fingerprint}
        content |= {"verdict": self.verdict, "notes": self.notes, "findings": []}
        for finding in self.findings:
            files = [*finding.files, *(file for item, _ in finding.images for file in item.pair.files)]
            about = {"kind": finding.kind, "severity": finding.severity, "text": finding.text}
            content["findings"].append(about | {"files": list(dict.fromkeys(map(str, files)))})
        return content

    def render(self, template: str) -> str:
        """As text for the terminal, or as one HTML file that needs no network."""
        return render(template, check=self, kinds=KINDS, splits=SPLITS, thumbnail=_data_uri, size=SIDE)


def examine(datamodule: PairedImageDataModule) -> Check:
    """Look at every pair of a datamodule. UserError if there are none."""
    splits, errors, root, is_sample = datamodule.scan()
    facts = list(gather(splits, partial(decode_shown, datamodule=datamodule)))
    decoded = [item for item in facts if item.halves]
    refused = [Finding(error.kind, error.text, files=error.files) for error in errors]
    for item in facts:
        refused += [Finding("unusable", problem, files=item.pair.files) for problem in item.problems]
    empty = [Finding("empty split" if split != "train" else "empty", f"The split {split} has no pairs in {root}.")
             for split in SPLITS if not splits[split]]  # fmt: skip
    findings = [*refused, *empty, *find_duplicates(decoded), *judge_alignment(decoded), *judge_colors(decoded)]
    pairs, digests = [(item.split, item.pair) for item in facts], [item.digests for item in facts]
    mark = None if refused else fingerprint(pairs, digests)
    notes = list(_notes(facts, datamodule.sides, is_sample))
    return Check(datamodule.task, root, mark, facts, findings, notes)


def decode_shown(pair: Pair, datamodule: PairedImageDataModule) -> tuple[Decoded, dict[str, Image.Image]]:
    """Read a pair, and make images for eyes of it, whatever their kind."""
    kinds = datamodule.kinds
    found = decode(pair, datamodule.source, datamodule.background, kinds)
    try:
        return found, {half: shown_image(image, kinds[half], f"data.{half}") for half, image in found.halves.items()}
    except UserError as error:  # it has no range
        found.problems.append(str(error))
        return found, {}


def _notes(facts: Sequence[Facts], sides: tuple[int, int], is_sample: bool) -> Iterator[str]:
    counts = Counter(item.split for item in facts)
    sizes = [half.size for item in facts for half in item.halves.values()]
    yield "Pairs: " + ", ".join(f"{count} in {split}" for split, count in counts.items()) + "."
    rows, columns = sides
    if small := sum(width < columns or height < rows for width, height in sizes):
        yield f"Images smaller than {columns}×{rows} (data.image_size), which will be enlarged: {small}."
    if others := sum(width * rows != height * columns for width, height in sizes):
        yield (f"Images of other proportions than {columns}×{rows}: {others}. Training uses the middle (all of it with "
               "data.resize=stretch, pad or random_crop).")  # fmt: skip
    if len(facts) < FEW:
        yield f"With fewer than {FEW} pairs, the alignment of input and target is not judged."
    if is_sample:
        yield "This is the built-in sample, because data.root is not set."


def _data_uri(item: Facts, half: str) -> str:
    """A small image, to be part of a page."""
    thumbnail(item.read()[half], SIDE).save(buffer := io.BytesIO(), "JPEG", quality=85)
    return data_url("image/jpeg", buffer.getvalue())
