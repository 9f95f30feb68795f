"""The notebook runs from top to bottom."""

import os
import sys
from pathlib import Path

import nbformat
import pytest
from conftest import PROJECT
from nbclient import NotebookClient


def test_quickstart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
