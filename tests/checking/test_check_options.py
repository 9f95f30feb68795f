"""`check` with odd options: said at once, and nothing is left behind."""

from pathlib import Path

import pytest
from conftest import Command, succeeded

from image_translation.check import check
from image_translation.cli.errors import UserError


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("strict=maybe", "strict must be one of True, False; got 'maybe'"),
        ("output=null", "output must be the name of a folder, got None"),
        ("output=", "output must be the name of a folder, got ''"),
        ("output=0.50", "output must be the name of a folder, got 0.5. Quote unusual names: 'output="),
        ("data.root=/no/such/folder", "data.root=/no/such/folder does not exist"),
    ],
)
def test_a_mistake_leaves_nothing(option: str, message: str, comic_root: Path, command: Command) -> None:
    result = command("check", "data.image_size=64", f"data.root={comic_root}", "output=report", option)
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not list((comic_root.parent / "cwd").iterdir())


def test_a_number_may_be_the_folder(comic_root: Path, command: Command) -> None:
    succeeded(command("check", "data.image_size=64", f"data.root={comic_root}", "output=2024"))
    assert (comic_root.parent / "cwd" / "2024" / "check.html").exists()


def test_a_place_that_cannot_be_written_is_said_before_the_pairs_are_looked_at(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    nobody_may_look = None
    with pytest.raises(UserError, match=r"report cannot be written \(Not a directory\); name another folder: output="):
        check(nobody_may_look, tmp_path / "file" / "report")
    with pytest.raises(AttributeError, match="scan"):  # so far it comes where it can be written
        check(nobody_may_look, tmp_path / "report")
