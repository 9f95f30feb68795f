"""What the documents print can be repeated."""

import contextlib
import io
import re

import pytest
from conftest import PROJECT


def test_the_worked_example_of_the_measures() -> None:
    text = (PROJECT / "docs" / "metrics.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.S)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(code, "metrics.md", "exec"), {})
    found = [line.rstrip() for line in printed.getvalue().splitlines()]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if "|" in line][2:]
    table = [row for row in rows if len(row) == 5 and re.fullmatch(r"[\d.]+", row[1])]
    assert len(table) == len(found) == 5
    for row, line in zip(table, found, strict=True):
        assert line.startswith(row[0])
        assert [float(cell) for cell in row[1:]] == pytest.approx([float(v) for v in line.split()[-4:]], abs=2e-3)


def test_every_local_link_leads_somewhere() -> None:
    for path in [PROJECT / "README.md", PROJECT / "CHANGELOG.md", *(PROJECT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
            if "://" not in target:
                assert (path.parent / target).exists(), f"{path.name}: {target}"
