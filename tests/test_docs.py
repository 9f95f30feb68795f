"""What the documents print can be repeated, and the notebook runs."""

import contextlib
import io
import os
import re
import sys
from pathlib import Path

import nbformat
import pytest
from conftest import PROJECT
from nbclient import NotebookClient


def test_the_worked_example_of_the_metrics() -> None:
    text = (PROJECT / "docs" / "metrics.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.S)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(code, "metrics.md", "exec"), {})
    found = printed.getvalue().splitlines()
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


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # `!python` in the notebook means the Python that runs it, and the package of this checkout.
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    notebook = nbformat.read(PROJECT / "notebooks" / "quickstart.ipynb", as_version=4)
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 4  # pairs, before, after, translation
    text = "".join(output.get("text", "") for output in outputs)
    assert "│ autoencoder │" in text
    assert "│ identity    │" in text
    assert not list(tmp_path.iterdir())
