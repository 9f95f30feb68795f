"""What is wrong with a data set, and what to do about it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from image_translation.data.layout import TROUBLES, Trouble

PROBLEM, WARNING = "problem", "warning"


@dataclass(frozen=True)
class Kind:
    """One kind of finding: how bad it is, what it is called, and what to do."""

    severity: str
    title: str
    advice: str


KINDS = {
    **{kind: Kind(PROBLEM, before.rstrip(":."), after) for kind, (before, after) in TROUBLES.items()},
    "unusable": Kind(PROBLEM, "Files that can't be used", "Mend or remove them; training would refuse to start."),
    "empty": Kind(PROBLEM, "Nothing to train on", "Look whether the folders are called as expected."),
    "leak": Kind(
        PROBLEM, "The same picture in two splits",
        "Remove it from one of them: a model is measured on pictures that it has learned by heart.",
    ),
    "mirrored": Kind(PROBLEM, "Halves that are mirror images of each other", "Mirror one of the two files."),
    "shifted": Kind(
        PROBLEM, "Halves shifted against each other",
        "Move one of the two back by the distance named; a model would learn to blur.",
    ),
    "wrong partner": Kind(
        PROBLEM, "Pictures that fit another one's partner better than their own",
        "Look whether the files are named right.",
    ),
    "perhaps shifted": Kind(
        WARNING, "Single pairs whose halves look shifted against each other",
        "Look at them: one of the two was moved, or their contours mislead.",
    ),
    "perhaps wrong partner": Kind(
        WARNING, "Single pictures that look as if they fitted another one's partner better than their own",
        "Look at them: files that are named wrong, or contours that mislead.",
    ),
    "same input": Kind(
        WARNING, "Nearly the same input with different targets in two splits",
        "All is well if inputs may be alike, as masks and label maps may; else remove them from one split.",
    ),
    "empty split": Kind(
        WARNING, "A split without a picture",
        "Training needs val, and by default test: add the folder or the rows, or raise data.val_fraction, "
        "data.test_fraction.",
    ),
    "direction": Kind(
        WARNING, "Inputs have colour, targets have none",
        "If the model is to colour, input and target are swapped: data.direction=BtoA.",
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
        "Look at them: a wrong partner, or a picture with hardly any contours.",
    ),
    "same halves": Kind(WARNING, "Input and target are the same picture", "Look whether one was copied by mistake."),
    "twice": Kind(
        WARNING, "The same picture twice in one split", "Remove one, unless it is meant to count twice in training."
    ),
    "one colour": Kind(WARNING, "Pictures of one colour only", "Look whether they were saved or exported right."),
    "grey": Kind(WARNING, "Grey pictures where colours are expected", "Look whether the colours were lost on the way."),
}  # fmt: skip


@dataclass
class Finding:
    """Something found, with the pictures that show it."""

    kind: str
    text: str
    files: list[Path] = field(default_factory=list)
    pictures: list[tuple[str, str, str]] = field(default_factory=list)  # caption, pair ("train/001"), half

    @property
    def severity(self) -> str:
        return KINDS[self.kind].severity


def of_troubles(troubles: Iterable[Trouble]) -> list[Finding]:
    """What keeps files from being a pair, as findings."""
    return [Finding(trouble.kind, trouble.text, list(trouble.files)) for trouble in troubles]


def by_kind(findings: Sequence[Finding]) -> dict[str, list[Finding]]:
    """In the order of ``KINDS``: the worst first."""
    return {kind: there for kind in KINDS if (there := [finding for finding in findings if finding.kind == kind])}
