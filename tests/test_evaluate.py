"""The command ``evaluate``: the same scores again, on any split, and on other images."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import Command, make_comic_root, read_csv, read_json, succeeded


def test_the_same_numbers(finished_run: Path, command: Command, tmp_path: Path) -> None:
    before = read_json(finished_run / "test" / "metrics.json")
    succeeded(command("evaluate", f"run={finished_run}"))
    assert read_json(finished_run / "evaluate" / "test" / "metrics.json") == pytest.approx(before)
    succeeded(command("evaluate", f"run={finished_run}", "protocol=report", f"output={tmp_path / 'report'}"))
    report = read_json(tmp_path / "report" / "test" / "metrics.json")
    assert {name: report[name] for name in before} == pytest.approx(before)
    assert report["report/mse"] == pytest.approx(report["test/mse"])
    assert report["report/psnr"] == pytest.approx(10 * np.log10(255**2 / report["test/mse"]))
    assert not list(tmp_path.joinpath("cwd").iterdir())
    assert read_json(finished_run / "test" / "metrics.json") == before


def test_all_splits(finished_run: Path, command: Command, tmp_path: Path) -> None:
    arguments = ["evaluate", f"run={finished_run}", "split=all", f"output={tmp_path / 'all'}"]
    result = succeeded(command(*arguments))
    for split, count in (("train", 6), ("val", 2), ("test", 4)):
        metrics = read_json(tmp_path / "all" / split / "metrics.json")
        assert metrics["images"] == count
        assert f"{metrics[f'{split}/psnr']:.3f}" in result.stdout
        names = [row["name"] for row in read_csv(tmp_path / "all" / split / "per_image.csv")]
        assert names == [f"{split}{i}" for i in range(count)]  # training images are not shuffled
    best = max(float(row["val/psnr"]) for row in read_csv(finished_run / "metrics.csv"))
    assert read_json(tmp_path / "all" / "val" / "metrics.json")["val/psnr"] == pytest.approx(best, rel=1e-4)
    again = command(*arguments)
    assert again.returncode == 1
    assert "exists, and nothing is overwritten" in again.stderr


def test_other_images(finished_run: Path, command: Command, tmp_path: Path) -> None:
    other = make_comic_root(tmp_path / "other", {"train": 1, "val": 1, "test": 2})
    refused = command("evaluate", f"run={finished_run}", f"data.root={other}")
    assert refused.returncode == 1
    assert "these are not the images of the run" in refused.stderr
    run = shutil.copytree(finished_run, tmp_path / "run")
    manifest = read_json(run / "run.json")
    manifest["data"]["root"] = str(other)  # as if other images had taken the place of the run's
    (run / "run.json").write_text(json.dumps(manifest))
    refused = command("evaluate", f"run={run}", f"output={tmp_path / 'there'}")
    assert refused.returncode == 1
    assert f"{other}: these are not the images of the run" in refused.stderr
    succeeded(command("evaluate", f"run={finished_run}", f"data.root={other}", f"output={tmp_path / 'there'}"))
    assert read_json(tmp_path / "there" / "test" / "metrics.json")["images"] == 2
