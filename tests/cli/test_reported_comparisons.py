"""Faults that people met with comparing runs: what was typed, and the right answer."""

import re
from pathlib import Path

from conftest import Command, read_csv, succeeded
from helpers.fake_runs import make_run


def test_a_comparison_has_the_options_in_columns(tmp_path: Path, command: Command) -> None:
    for number, rate in enumerate([1e-4, 1e-3]):
        make_run(tmp_path / "runs" / str(number), options={"model": {"optimizer": {"lr": rate}}})
    succeeded(command("compare", f"runs=[{tmp_path / 'runs'}]"))
    rows = read_csv(tmp_path / "cwd" / "compare" / "table.csv")
    assert {row["model.optimizer.lr"] for row in rows if row["model"] != "identity"} == {"0.0001", "0.001"}
    assert {row["model.optimizer.lr"] for row in rows if row["model"] == "identity"} == {""}


def test_too_few_images_are_not_called_no_difference(tmp_path: Path, command: Command) -> None:
    """Where every image agrees and no p could be below 0.05, nobody can tell."""
    for number, (model, noise) in enumerate({"pix2pix": 10.0, "autoencoder": 40.0}.items()):
        make_run(tmp_path / "runs" / str(number), model=model, noise=noise, count=5)
    said = succeeded(command("compare", f"runs=[{tmp_path / 'runs'}]")).stdout
    assert "there are too few images to tell autoencoder and pix2pix apart in MSE, PSNR and SSIM" in said
    assert "better on 5 of 5 images" in said
    assert "no significant difference" not in said
    assert "5 test images are too few for so many comparisons: no p can be below 0.05. Look at the intervals." in said


def test_the_report_opens_with_images_and_has_a_row_for_each_of_many_models(tmp_path: Path, command: Command) -> None:
    for number in range(5):
        make_run(tmp_path / "runs" / str(number), model=f"m{number}", noise=50.0 - 10 * number)
    succeeded(command("compare", f"runs=[{tmp_path / 'runs'}]"))
    page = (tmp_path / "cwd" / "compare" / "report.html").read_text()
    glance, rest = page.split('<section id="glance"')[1].split('<section id="table"')
    assert re.findall(r"★ (m\d)", glance) == ["m4"]
    assert glance.count('data-view="0/') == 3 * 5  # three images of each model
    assert "data:image/svg+xml" in glance  # the means with their intervals
    table = rest.split("</table>")[0]
    assert re.findall(r'<td class="l">(\w+)</td>', table) == ["m0", "m1", "m2", "m3", "m4", "identity"]
    assert "<summary>How they were compared" in rest
