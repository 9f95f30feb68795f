"""A panel has its images where they belong, pixel by pixel."""

import numpy as np
from conftest import image

from image_translation.callbacks.panels import draw_panel


def test_a_panel_has_a_column_for_each_name_and_a_row_for_each_image() -> None:
    columns = {name: [image(10 * i + j, (40, 32)) for j in range(2)] for i, name in enumerate(("input", "output"))}
    panel = np.asarray(draw_panel(columns))
    height, width = np.asarray(columns["input"][0]).shape[:2]
    assert panel.shape == (18 + 4 + 2 * (height + 4), 4 + 2 * (width + 4), 3)
    for i, images in enumerate(columns.values()):
        for j, expected in enumerate(images):
            top, left = 22 + j * (height + 4), 4 + i * (width + 4)
            assert np.array_equal(panel[top : top + height, left : left + width], expected)
