"""What can be wrong with a set of pairs, and what to do about it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from image_translation.checking.facts import Facts
from image_translation.data.sources.base import PAIRING_ERRORS

# Of each kind of finding the title and the advice, the worst first. Problems spoil training, warnings may do so.
PROBLEMS = {kind: (before.rstrip(":."), after) for kind, (before, after) in PAIRING_ERRORS.items()} | {
    "unusable": ("Files that cannot be used", "Fix or remove them. Training refuses to start with them."),
    "empty": ("No training images", "Check the names of the folders."),
    "leakage": ("Leakage: the same image in two splits",
                "Remove it from one of them. Otherwise the scores will be too good."),
    "flipped": ("Pairs with one image flipped", "Flip one of the two images."),
    "shifted": ("Pairs with the target shifted against the input",
                "Move one of the two images back by this distance. A model trained on them learns to blur."),
    "wrong target": ("Inputs that match another pair's target better than their own", "Check the names of the files."),
}  # fmt: skip
WARNINGS = {
    "maybe shifted": ("Single pairs whose target looks shifted against the input",
                      "Look at them. Either one image was moved, or their edges are misleading."),
    "maybe wrong target": ("Single inputs that seem to match another pair's target better than their own",
                           "Look at them. Either a file has the wrong name, or the edges are misleading."),
    "same input": ("Nearly the same input with different targets in two splits",
                   "This is fine if inputs may be alike, as masks are. Otherwise remove them from one split."),
    "empty split": ("Splits without an image", "Add images, or raise data.val_fraction or data.test_fraction."),
    "direction": ("Inputs in color with gray targets",
                  "If the model is to color gray images, swap input and target: data.direction=BtoA."),
    "unaligned": ("Inputs and targets with little in common throughout the set",
                  "Look at the examples: are they pairs? This is fine if pairs need not be aligned."),
    "same target": ("Different inputs with the same target in two splits",
                    "This is fine if targets may be alike, as masks are. Otherwise remove them from one split."),
    "low agreement": ("Pairs with far less in common than the others",
                      "Look at them. Either the target is wrong, or an image has hardly any edges."),
    "input is target": ("Pairs with the same image as input and target", "Check whether one was copied by mistake."),
    "duplicate": ("The same image twice in one split", "Remove one, unless it should count twice in training."),
    "one color": ("Images of a single color", "Check whether they were saved correctly."),
    "gray": ("Gray images where color is expected", "Check whether the colors were lost."),
}  # fmt: skip
KINDS = PROBLEMS | WARNINGS


@dataclass
class Finding:
    """Something found, with the images that show it."""

    kind: str
    text: str
    files: Sequence[Path] = ()
    images: list[tuple[Facts, str]] = field(default_factory=list)  # pairs and halves

    @property
    def severity(self) -> str:
        return "problem" if self.kind in PROBLEMS else "warning"


def by_kind(findings: Sequence[Finding]) -> dict[str, list[Finding]]:
    """The findings of each kind, the worst first."""
    return {kind: there for kind in KINDS if (there := [finding for finding in findings if finding.kind == kind])}
