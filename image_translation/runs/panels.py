"""Panels: the same few images again and again, one column each for input, target and output."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw

GAP, HEADER = 4, 18  # pixels
COLUMNS = ("input", "target", "output")


def draw_panel(columns: Mapping[str, Sequence[Image.Image]]) -> Image.Image:
    """Images of one size, with one column for each name and one row for each image."""
    (width, height), rows = next(iter(columns.values()))[0].size, len(next(iter(columns.values())))
    size = (GAP + len(columns) * (width + GAP), HEADER + GAP + rows * (height + GAP))
    panel = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(panel)
    for i, (name, images) in enumerate(columns.items()):
        left = GAP + i * (width + GAP)
        pen.text((left + width // 2, HEADER // 2 + 1), name, fill="black", anchor="mm")
        for j, image in enumerate(images):
            panel.paste(image, (left, HEADER + GAP + j * (height + GAP)))
    return panel


def read_panel(path: Path) -> dict[str, list[Image.Image]]:
    """The square images of a panel that ``Panels`` saved, by the names of its columns.

    Raises:
        OSError: it is missing or damaged, or not a panel.
    """
    with Image.open(path, formats=("PNG",)) as panel:
        side = (panel.width - GAP) // len(COLUMNS) - GAP
        rows = (panel.height - HEADER - GAP) // max(side + GAP, 1)
        if side < 1 or rows < 1:
            raise OSError(f"{path} is not a panel.")
        corners = [(GAP + i * (side + GAP), HEADER + GAP) for i in range(len(COLUMNS))]
        return {
            name: [
                panel.crop((left, top + j * (side + GAP), left + side, top + j * (side + GAP) + side))
                for j in range(rows)
            ]
            for name, (left, top) in zip(COLUMNS, corners, strict=True)
        }
