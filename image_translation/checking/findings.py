"""What is wrong with a data set, and what to do about it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from image_translation.data.sources.base import PAIRING_ERRORS, PairingError

PROBLEM, WARNING = "problem", "warning"


@dataclass(frozen=True)
class Kind:
    """One kind of finding: how bad it is, what it is called, and what to do."""

    severity: str
    title: str
    advice: str


KINDS = {
    **{kind: Kind(PROBLEM, before.rstrip(":."), after) for kind, (before, after) in PAIRING_ERRORS.items()},
    "unusable": Kind(PROBLEM, "Files that can't be used", "Mend or remove them; training would refuse to start."),
    "empty": Kind(PROBLEM, "Nothing to train on", "Look whether the folders are called as expected."),
    "leak": Kind(
        PROBLEM, "The same image in two splits",
        "Remove it from one of them: a model is measured on images that it has learned by heart.",
    ),
    "flipped": Kind(PROBLEM, "Halves that are hflip images of each other", "Mirror one of the two files."),
    "shifted": Kind(
        PROBLEM, "Halves shifted against each other",
        "Move one of the two back by the distance named; a model would learn to blur.",
    ),
    "wrong partner": Kind(
        PROBLEM, "Images that fit another one's partner better than their own",
        "Look whether the files are named right.",
    ),
    "perhaps shifted": Kind(
        WARNING, "Single pairs whose halves look shifted against each other",
        "Look at them: one of the two was moved, or their contours mislead.",
    ),
    "perhaps wrong partner": Kind(
        WARNING, "Single images that look as if they fitted another one's partner better than their own",
        "Look at them: files that are named wrong, or contours that mislead.",
    ),
    "same input": Kind(
        WARNING, "Nearly the same input with different targets in two splits",
        "All is well if inputs may be alike, as masks and label maps may; else remove them from one split.",
    ),
    "empty split": Kind(
        WARNING, "A split without a image",
        "Training needs val, and by default test: add the folder or the rows, or raise data.val_fraction, "
        "data.test_fraction.",
    ),
    "direction": Kind(
        WARNING, "Inputs have color, targets have none",
        "If the model is to color, input and target are swapped: data.direction=BtoA.",
    ),
    "unrelated": Kind(
        WARNING, "Halves with little in common throughout",
        "Look at the examples: are they pairs? If halves need not lie on each other here, all is well.",
    ),
    "same target": Kind(
        WARNING, "Different inputs with the same target in two splits",
        "All is well if targets may be the same, as masks may; else remove them from one split.",
    ),
    "little in common": Kind(
        WARNING, "Halves with far less in common than those of the other pairs",
        "Look at them: a wrong partner, or a image with hardly any contours.",
    ),
    "same halves": Kind(WARNING, "Input and target are the same image", "Look whether one was copied by mistake."),
    "twice": Kind(
        WARNING, "The same image twice in one split", "Remove one, unless it is meant to count twice in training."
    ),
    "one color": Kind(WARNING, "Images of one color only", "Look whether they were saved or exported right."),
    "gray": Kind(WARNING, "Gray images where colors are expected", "Look whether the colors were lost on the way."),
}  # fmt: skip


@dataclass
class Finding:
    """Something found, with the images that show it."""

    kind: str
    text: str
    files: list[Path] = field(default_factory=list)
    images: list[tuple[str, str, str]] = field(default_factory=list)  # caption, pair ("train/001"), half

    @property
    def severity(self) -> str:
        return KINDS[self.kind].severity


def of_troubles(troubles: Iterable[PairingError]) -> list[Finding]:
    """What keeps files from being a pair, as findings."""
    return [Finding(trouble.kind, trouble.text, list(trouble.files)) for trouble in troubles]


def by_kind(findings: Sequence[Finding]) -> dict[str, list[Finding]]:
    """In the order of ``KINDS``: the worst first."""
    return {kind: there for kind in KINDS if (there := [finding for finding in findings if finding.kind == kind])}
