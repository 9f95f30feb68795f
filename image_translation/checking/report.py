"""A whole check: the pairs of a data set, what was found, and the page that shows it."""

import base64
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from image_translation import __version__
from image_translation.checking.duplicates import find_duplicates
from image_translation.checking.facts import FEW, Facts, gather, thumbnail
from image_translation.checking.findings import KINDS, Finding, by_kind
from image_translation.checking.judge import judge_alignment, judge_colors
from image_translation.cli.pages import render
from image_translation.data import PairedImageDataModule
from image_translation.data.integrity import decode, fingerprint
from image_translation.data.sources.base import SPLITS

SIDE = 160  # pixels of an image on the page
NAMED = 6  # sizes and formats in the notes


@dataclass
class Check:
    """What a check found."""

    task: str
    root: Path
    is_sample: bool
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
        return {
            "task": self.task, "root": str(self.root), "sample": self.is_sample, "fingerprint": self.fingerprint,
            **_counts(self.facts), "verdict": self.verdict, "notes": self.notes,
            "findings": [
                {"kind": finding.kind, "severity": finding.severity, "text": finding.text,
                 "files": [str(file) for file in finding.files], "advice": KINDS[finding.kind][1]}
                for finding in self.findings
            ],
        }  # fmt: skip

    def as_page(self) -> str:
        """One HTML file that needs no network."""
        made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        return render("check.html.j2", check=self, kinds=KINDS, findings=by_kind(self.findings), splits=SPLITS,
                      show=_show, size=SIDE, version=__version__, made=made)  # fmt: skip


def examine(datamodule: PairedImageDataModule, output: Path | None = None) -> Check:
    """Look at every pair of a datamodule. The folder ``output`` is made first: an error then costs no minutes.

    Raises:
        UserError: there are no pairs.
    """
    splits, errors, root, is_sample = datamodule.scan()
    if output:
        output.mkdir(parents=True, exist_ok=True)
    facts = list(gather(splits, partial(decode, source=datamodule.source, background=datamodule.background)))
    decoded = [item for item in facts if item.halves]
    unusable = [Finding("unusable", problem, item.pair.files) for item in facts for problem in item.problems]
    findings = [
        *(Finding(error.kind, error.text, error.files) for error in errors),
        *(Finding("empty" if split == "train" else "empty split", f"The split {split} has no pairs in {root}.")
          for split in SPLITS if not splits[split]),
        *unusable, *find_duplicates(decoded), *judge_alignment(decoded), *judge_colors(decoded),
    ]  # fmt: skip
    mark = None if errors or unusable else fingerprint(item.fingerprint_line for item in facts)
    notes = list(_notes(facts, datamodule.image_size, is_sample))
    return Check(datamodule.task, root, is_sample, mark, facts, findings, notes)


def _counts(facts: Sequence[Facts]) -> dict[str, dict[str, int]]:
    """How many pairs each split has, and how many images each size and each format, the most common first."""
    sizes = Counter("{}×{}".format(*half.size) for item in facts for half in item.halves.values())
    formats = Counter(form for item in facts for form in item.formats)
    pairs = {split: sum(item.split == split for item in facts) for split in SPLITS}
    return {"counts": pairs, "sizes": dict(sizes.most_common()), "files": dict(formats.most_common())}


def _notes(facts: Sequence[Facts], image_size: int, is_sample: bool) -> Iterator[str]:
    for what, counts in zip(("Pairs", "Sizes", "Files"), _counts(facts).values(), strict=True):
        named = ", ".join(f"{name} ({count})" for name, count in [*counts.items()][:NAMED])
        yield f"{what}: {named}{' and others' * (len(counts) > NAMED)}."
    sizes = [half.size for item in facts for half in item.halves.values()]
    if small := sum(min(size) < image_size for size in sizes):
        yield f"Images smaller than data.image_size={image_size}, which will be enlarged: {small}."
    if oblong := sum(width != height for width, height in sizes):
        yield f"Images that are not square: {oblong}. Training uses the middle (data.resize=stretch: all)."
    if len(facts) < FEW:
        yield f"With fewer than {FEW} pairs, the alignment of input and target is not judged."
    if is_sample:
        yield "This is the built-in sample, because data.root is not set."


def _show(images: Sequence[tuple[Facts, str]]) -> list[tuple[str, str]]:
    """Captions and small images as data URIs."""
    shown = []
    for item, half in images:
        thumbnail(item.read().halves[half], SIDE).save(buffer := io.BytesIO(), "JPEG", quality=85)
        uri = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
        shown.append((f"{item.name} {half}", uri))
    return shown
