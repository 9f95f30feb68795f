"""A whole check: the data set's pairs, what was found, and the page that shows it."""

import base64
import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from PIL import Image

from image_translation import __version__
from image_translation.checking.facts import FEW, Facts, agreement_of, gather
from image_translation.checking.findings import KINDS, PROBLEM, WARNING, Finding, by_kind, of_troubles
from image_translation.checking.judge import judge
from image_translation.cli.pages import render
from image_translation.data import PairedImageDataModule
from image_translation.data.integrity import decode, fingerprint
from image_translation.data.sources.base import PAIRING_ERRORS, SPLITS, PairSource

THUMB, IMAGED, EXAMPLES = 160, 24, 4  # pixels; findings of a kind with images on the page; pairs of a split shown


@dataclass
class Check:
    """What a check found."""

    task: str
    root: str
    sample: bool
    source: PairSource
    background: str
    image_size: int
    facts: list[Facts]
    findings: list[Finding] = field(default_factory=list)

    @cached_property
    def fingerprint(self) -> str | None:
        """As in a run's manifest; None if training would refuse the data."""
        refused = any(finding.kind in ("unusable", *PAIRING_ERRORS) for finding in self.findings)
        return None if refused else fingerprint(item.line for item in self.facts)

    @property
    def counts(self) -> dict[str, int]:
        """Pairs in each split."""
        there = Counter(item.split for item in self.facts)
        return {split: there[split] for split in SPLITS}

    @property
    def sizes(self) -> dict[str, dict[str, int]]:
        """How often each size occurs in each split, the commonest first; of the input, or the only half."""
        return {
            split: dict(Counter(
                "{}×{}".format(*next(iter(item.halves.values())).size)
                for item in self.facts if item.split == split and item.halves
            ).most_common()) for split in SPLITS
        }  # fmt: skip

    @property
    def kinds(self) -> dict[str, int]:
        """Formats and modes of the files."""
        return dict(Counter(kind for item in self.facts for kind in item.kinds).most_common())

    @property
    def extensions(self) -> dict[str, int]:
        return dict(Counter(file.suffix for item in self.facts for file in item.pair.files).most_common())

    @property
    def channels(self) -> dict[str, dict[str, list[float]]]:
        """Mean and standard deviation of red, green and blue of each half, 0 … 255: means over the images."""
        result = {}
        for half in ("input", "target"):
            there = [item.halves[half] for item in self.facts if half in item.halves]
            if there:
                result[half] = {
                    name: [round(sum(values) / len(there), 1) for values in zip(*rows, strict=True)]
                    for name, rows in {
                        "mean": [h.mean for h in there], "standard_deviation": [h.deviation for h in there],
                    }.items()
                }  # fmt: skip
        return result

    @property
    def notes(self) -> list[str]:
        """What is worth knowing, and no fault."""
        lines = [f"Files: {', '.join(f'{count} {kind}' for kind, count in self.kinds.items())}."] if self.kinds else []
        smaller = sum(min(half.size) < self.image_size for item in self.facts for half in item.halves.values())
        if smaller:
            lines.append(f"Smaller than data.image_size={self.image_size}, to be enlarged: {smaller} images.")
        cut = sum(half.size[0] != half.size[1] for item in self.facts for half in item.halves.values())
        if cut:
            lines.append(f"Not square, so that training takes the middle (all with data.resize=stretch): {cut} images.")
        if len(self.facts) < FEW:
            lines.append(f"With fewer than {FEW} pairs nothing is said about how halves lie on each other.")
        if self.sample:
            lines.append("This is the built-in sample: data.root is not set.")
        return lines

    @property
    def verdict(self) -> str:
        severities = Counter(finding.severity for finding in self.findings)
        if not severities:
            return f"Nothing wrong with {len(self.facts)} pairs."
        counts = {severity: severities[severity] for severity in (PROBLEM, WARNING) if severities[severity]}
        found = " and ".join(f"{count} {severity}{'s' * (count > 1)}" for severity, count in counts.items())
        return f"{found} in {len(self.facts)} pairs."

    def split_rows(self) -> list[list[str]]:
        """For a table: split, pairs, the commonest sizes."""
        rows = []
        for split in SPLITS:
            sizes = [f"{size} ({count})" for size, count in self.sizes[split].items()]
            rows.append([split, str(self.counts[split]), ", ".join(sizes[:3]) + (" …" if len(sizes) > 3 else "")])
        return rows

    def as_json(self) -> dict[str, Any]:
        return {
            "task": self.task, "root": self.root, "sample": self.sample, "fingerprint": self.fingerprint,
            "counts": self.counts, "sizes": self.sizes, "files": self.kinds, "extensions": self.extensions,
            "channels": self.channels, "verdict": self.verdict, "notes": self.notes,
            "findings": [
                {"kind": f.kind, "severity": f.severity, "text": f.text, "files": [str(file) for file in f.files],
                 "advice": KINDS[f.kind].advice}
                for f in self.findings
            ],
        }  # fmt: skip

    def as_page(self) -> str:
        """One HTML file that needs no network."""
        by_name = {item.name: item for item in self.facts}
        groups = by_kind(self.findings)
        return render(
            "check.html.j2",
            version=__version__, made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"), check=self, kinds=KINDS,
            groups={kind: [(finding, self._shown(finding, by_name) if index < IMAGED else [])
                           for index, finding in enumerate(there)] for kind, there in groups.items()},
            examples={split: [self._shown_pair(item) for item in self._examples(split)] for split in SPLITS},
            size=THUMB,
        )  # fmt: skip

    def _examples(self, split: str) -> list[Facts]:
        there = [item for item in self.facts if item.split == split and item.halves]
        count = min(EXAMPLES, len(there))
        return [there[index * len(there) // count] for index in range(count)]

    def _shown_pair(self, item: Facts) -> tuple[str, list[tuple[str, str]]]:
        halves = decode(item.split, item.pair, self.source, self.background).halves
        return item.name, [(half, _address(image)) for half, image in halves.items()]

    def _shown(self, finding: Finding, by_name: Mapping[str, Facts]) -> list[tuple[str, str]]:
        shown = finding.images[:IMAGED]
        return [
            (caption, _address(decode(item.split, item.pair, self.source, self.background).halves[half]))
            for caption, name, half in shown if (item := by_name.get(name)) and half in item.halves
        ]  # fmt: skip


def examine(datamodule: PairedImageDataModule) -> Check:
    """Look at every pair of a datamodule.

    Raises:
        UserError: there are none.
    """
    splits, troubles, root, sample = datamodule.scan()
    source, background = datamodule.source, datamodule.background
    facts = list(gather(splits, source, background))
    empty = [
        Finding("empty" if split == "train" else "empty split", f"The split {split} has no pairs in {root}.")
        for split in SPLITS if not splits[split]
    ]  # fmt: skip
    findings = of_troubles(troubles) + empty + judge(facts, lambda a, b: agreement_of(a, b, source, background))
    return Check(datamodule.task, str(root), sample, source, background, datamodule.image_size, facts, findings)


def _address(image: Image.Image) -> str:
    small = image.copy()
    small.thumbnail((THUMB, THUMB), Image.Resampling.BOX)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
