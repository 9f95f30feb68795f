"""What can be wrong with a set of pairs, and what to do about it."""

from collections.abc import Sequence
from dataclasses import dataclass

from image_translation.checking.facts import Facts
from image_translation.data.sources.base import PAIRING_ERRORS, File

FINE = "This is fine where they may be alike, as masks are."

LABELS = "Give the numbers of label maps clear colors: they are mixed where images are resized."

# Of each kind of finding the title and the advice, the worst first. Problems spoil training, warnings may do so.
PROBLEMS = {kind: (before.rstrip(":."), after) for kind, (before, after) in PAIRING_ERRORS.items()} | {
    "unusable": ("Files that cannot be used", "Fix or remove them. Training refuses to start with them."),
    "empty": ("No training images", "Check the names of the folders."),
    "leakage": ("Leakage: the same image in two splits", "Remove one. Otherwise the scores will be too good."),
    "flipped": ("Pairs with one image flipped", "Flip one of the two images."),
    "shifted": ("Targets shifted against the input", "Move them back. A model trained on them learns to blur."),
    "wrong target": ("Inputs that match another pair's target better than their own", "Check the names of the files."),
}
WARNINGS = {
    "maybe shifted": ("Targets that look shifted against the input", "Look at them. Their edges may be misleading."),
    "maybe wrong target": ("Inputs that seem to match another pair's target", "Look at them and at their names."),
    "same input": ("Nearly the same input with other targets in two splits", f"Remove one. {FINE}"),
    "empty split": ("Splits without an image", "Add images, or raise data.val_fraction or data.test_fraction."),
    "direction": ("Inputs in color with gray targets", "To color gray images, swap them: data.direction=BtoA."),
    "unaligned": ("Inputs and targets with little in common throughout the set", "Are they pairs? See the examples."),
    "same target": ("The same target of different inputs in two splits", f"Remove one. {FINE}"),
    "low agreement": ("Pairs with far less in common than the others", "Look at them. The target may be wrong."),
    "input is target": ("Pairs with the same image as input and target", "Check whether one was copied by mistake."),
    "duplicate": ("The same image twice in one split", "Remove one, unless it should count twice in training."),
    "range": ("Images that use less than a quarter of their range", f"Scale values of 10 or 12 bits. {LABELS}"),
    "one color": ("Images of a single color", "Check whether they were saved correctly."),
    "gray": ("Gray images where color is expected", "Check whether the colors were lost."),
}
KINDS = PROBLEMS | WARNINGS


@dataclass
class Finding:
    """Something found, with the images that show it (pairs and halves), or else its files."""

    kind: str
    text: str
    images: Sequence[tuple[Facts, str]] = ()
    files: Sequence[File] = ()

    @property
    def severity(self) -> str:
        return "problem" if self.kind in PROBLEMS else "warning"
