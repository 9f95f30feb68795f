"""Panels can be read back, pixel by pixel."""

from pathlib import Path

import numpy as np
import pytest
from conftest import image
from PIL import Image

from image_translation.runs.panels import COLUMNS, draw_panel, read_panel


@pytest.mark.parametrize("side", [32, 64])
@pytest.mark.parametrize("rows", [1, 3])
def test_a_panel_is_read_as_it_was_drawn(side: int, rows: int, tmp_path: Path) -> None:
    columns = {name: [image(10 * i + j, (side, side)) for j in range(rows)] for i, name in enumerate(COLUMNS)}
    draw_panel(columns).save(tmp_path / "panel.png")
    read = read_panel(tmp_path / "panel.png")
    assert list(read) == list(COLUMNS)
    for name, images in columns.items():
        assert len(read[name]) == rows
        for was, now in zip(images, read[name], strict=True):
            assert np.array_equal(np.asarray(was), np.asarray(now))


def test_no_panel_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "panel.png").write_bytes(b"no image")
    with pytest.raises(OSError, match=r"panel\.png"):
        read_panel(tmp_path / "panel.png")
    Image.new("RGB", (5, 5)).save(tmp_path / "tiny.png")
    with pytest.raises(OSError, match="not a panel"):
        read_panel(tmp_path / "tiny.png")
