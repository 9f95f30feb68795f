"""Panels: the same few images after every epoch, in columns for input, target and output."""

from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw

GAP, HEADER = 4, 18  # pixels


def draw_panel(columns: Mapping[str, Sequence[Image.Image]]) -> Image.Image:
    """Draw images of one size: a column for each name, a row for each image."""
    first = next(iter(columns.values()))
    (width, height), rows = first[0].size, len(first)
    size = (GAP + len(columns) * (width + GAP), HEADER + GAP + rows * (height + GAP))
    panel = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(panel)
    for i, (name, images) in enumerate(columns.items()):
        left = GAP + i * (width + GAP)
        pen.text((left + width // 2, HEADER // 2 + 1), name, fill="black", anchor="mm")
        for j, image in enumerate(images):
            panel.paste(image, (left, HEADER + GAP + j * (height + GAP)))
    return panel
