"""Rules of the design that a linter does not know."""

import re

import pytest
from conftest import PROJECT

PACKAGE = PROJECT / "image_translation"


@pytest.mark.parametrize("part", ["networks", "losses.py"])
def test_networks_and_losses_know_no_lightning(part: str) -> None:
    files = [PACKAGE / part] if part.endswith(".py") else list((PACKAGE / part).glob("*.py"))
    assert files
    for path in files:
        assert not re.search(r"import (pytorch_)?lightning|from (pytorch_)?lightning", path.read_text()), path


@pytest.mark.parametrize(
    ("part", "others"),
    [
        ("models", "callbacks|runs|loggers"),
        ("data", "models|callbacks|networks"),
        ("comparison", "models|networks|callbacks|data|loggers|metrics|session"),
    ],
)
def test_parts_know_only_what_they_should(part: str, others: str) -> None:
    for path in (PACKAGE / part).glob("*.py"):
        assert not re.search(rf"from image_translation\.({others})", path.read_text()), path


def test_comparing_needs_no_torch() -> None:
    for path in [*(PACKAGE / "comparison").glob("*.py"), PACKAGE / "compare.py", PACKAGE / "panel.py"]:
        assert not re.search(r"^\s*(import|from) torch", path.read_text(), flags=re.M), path
