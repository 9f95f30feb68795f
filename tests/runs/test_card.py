"""The model card, and the folder for the Hub."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import Command, image, read_json, succeeded

import image_translation
from image_translation.runs.card import write_card


def test_a_finished_run_has_a_model_card(finished_run: Path) -> None:
    text = (finished_run / "README.md").read_text()
    front = yaml.safe_load(text.split("---\n")[1])
    assert (front["pipeline_tag"], front["library_name"], front["license"]) == (
        "image-to-image", "image_translation", "other")  # fmt: skip
    metrics = read_json(finished_run / "test" / "metrics.json")
    (result,) = front["model-index"][0]["results"]
    assert {metric["type"]: metric["value"] for metric in result["metrics"]} == pytest.approx(
        {name: metrics[f"test/{name}"] for name in ("mse", "psnr", "ssim")}, abs=1e-3
    )
    table = [line.split("|") for line in text.splitlines() if line.count("|") > 4]
    rows = {cells[1].strip(): cells[2:-1] for cells in table}
    for name, prefix in (("pix2pix", "test/"), ("identity", "identity/"), ("color_curve", "color_curve/")):
        assert [float(cell) for cell in rows[name][:3]] == pytest.approx(
            [metrics[f"{prefix}{metric}"] for metric in ("mse", "psnr", "ssim")], abs=1e-3
        )
    assert read_json(finished_run / "run.json")["data"]["fingerprint"] in text
    assert all((finished_run / link).exists() for link in re.findall(r"!\[.*\]\((.*)\)", text))


def test_a_card_explains_the_baselines_in_its_table(finished_run: Path, tmp_path: Path) -> None:
    """Where inputs have other channels than targets, the mean target stands in for the input."""
    shutil.copytree(finished_run, tmp_path / "run", ignore=shutil.ignore_patterns("wandb"))
    path = tmp_path / "run" / "test" / "metrics.json"
    path.write_text(path.read_text().replace("identity/", "mean_target/"))
    write_card(tmp_path / "run")
    before, after = ((run / "README.md").read_text() for run in (finished_run, tmp_path / "run"))
    assert "`identity` is the\nunchanged input; a model below" in before
    assert "`mean_target` is the mean of the training targets; a model below" in after
    assert ("mean_target" in before, "identity" in after) == (False, False)


def test_a_folder_for_the_hub(finished_run: Path, command: Command, tmp_path: Path) -> None:
    hub = tmp_path / "hub"
    succeeded(command("export", f"run={finished_run}", "format=hub", f"output={hub}"))
    assert sorted(path.name for path in hub.iterdir()) == ["README.md", "model.safetensors", "results.png"]
    photo = np.asarray(image(9, (70, 50)))
    one, other = (image_translation.load(folder).predict(photo) for folder in (hub, finished_run))
    assert np.array_equal(one, other)
    image(9).save(tmp_path / "photo.png")
    succeeded(command("predict", f"run={hub}", f"input={tmp_path / 'photo.png'}", f"output={tmp_path / 'out'}"))
    assert (tmp_path / "out" / "photo.png").exists()
