"""Panels can be read back, pixel by pixel."""

from pathlib import Path

import numpy as np
import pytest
from conftest import image

from image_translation.runs.panels import COLUMNS, draw_panel, read_panel


@pytest.mark.parametrize(("side", "rows"), [(32, 1), (64, 3)])
def test_a_panel_is_read_as_it_was_drawn(side: int, rows: int, tmp_path: Path) -> None:
    columns = {name: [image(10 * i + j, (side, side)) for j in range(rows)] for i, name in enumerate(COLUMNS)}
    draw_panel(columns).save(tmp_path / "panel.png")
    read = read_panel(tmp_path / "panel.png")
    assert list(read) == list(COLUMNS)
    for name, images in columns.items():
        assert [np.asarray(now).tolist() for now in read[name]] == [np.asarray(was).tolist() for was in images]
