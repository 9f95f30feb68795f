"""Which runs are compared and what is said of the others, on run folders made without training."""

import itertools
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import read_csv
from helpers.fake_runs import edit_json, edit_text, make_run

from image_translation.cli.errors import UserError
from image_translation.comparison.collect import collect
from image_translation.comparison.statistics import judge


def compared(*arguments: Any, task: int = 0) -> dict[str, list[int]]:
    """The seeds of each experiment."""
    return {found.label: [run.seed for run in found.runs] for found in collect(*arguments)[0][task].trained}


def reasons(root: Path) -> dict[str, str]:
    return {excluded.folder.name: excluded.reason for excluded in collect([root])[1]}


def test_runs_are_found_at_any_depth_and_grouped(tmp_path: Path) -> None:
    make_run(tmp_path / "outputs" / "comic" / "pix2pix" / "a", seed=0)
    make_run(tmp_path / "multirun" / "x" / "0", seed=1)
    make_run(tmp_path / "multirun" / "x" / "1", model="autoencoder")
    make_run(tmp_path / "deep" / "er" / "monet", task="monet", model="autoencoder")
    make_run(tmp_path / "deep" / "er" / "identity", task="monet", model="identity")
    (tmp_path / "multirun" / "run.json").write_text("{}")  # hides no runs below it
    assert compared([tmp_path]) == {"autoencoder": [0], "pix2pix": [0, 1]}
    assert compared([tmp_path], task=1) == {"autoencoder": [0]}
    assert [task.experiments[-1].label for task in collect([tmp_path])[0]] == ["identity"] * 2
    assert "run.json is damaged" in reasons(tmp_path)["multirun"]


def test_the_color_curve_is_a_baseline_and_no_experiment(tmp_path: Path) -> None:
    run, own = make_run(tmp_path / "0"), make_run(tmp_path / "1", model="color_curve", noise=5)
    make_run(tmp_path / "2", seed=1)  # made before there was a curve
    wrong = make_run(tmp_path / "3", seed=2)
    shutil.copy(wrong / "test" / "identity.csv", wrong / "test" / "color_curve.csv")
    for folder in (run, own):
        shutil.copy(own / "test" / "per_image.csv", folder / "test" / "color_curve.csv")
    (task,) = collect([tmp_path])[0]
    assert "not comparable with the other runs: MSE of color_curve" in reasons(tmp_path)["3"]
    assert [experiment.label for experiment in task.experiments] == ["pix2pix", "color_curve", "identity"]
    curve = task.baselines[0]
    assert curve.runs[0].folder == own  # which has the images
    assert curve.scores("psnr").tolist() == [[float(row["psnr"]) for row in read_csv(own / "test" / "per_image.csv")]]
    assert curve.quality == pytest.approx(curve.scores("psnr").mean())
    assert {verdict.pair for verdict in judge([task])} == {("color_curve", "pix2pix"), ("identity", "pix2pix")}


def test_options_make_experiments_and_group_by_pools_the_others(tmp_path: Path) -> None:
    choices = list(itertools.product(("bce", "hinge"), (10, 100)))
    for index, (loss, weight) in enumerate(choices):
        make_run(tmp_path / str(index), options={"model.gan_loss": loss, "model.lambda_l1": weight})
    labels = [f"pix2pix (gan_loss={loss}, lambda_l1={weight})" for loss, weight in choices]
    assert compared([tmp_path]) == {label: [0] for label in labels}
    pooled = {"pix2pix (gan_loss=bce)": [0, 0], "pix2pix (gan_loss=hinge)": [0, 0]}
    assert compared([tmp_path], ["model.gan_loss"]) == pooled
    with pytest.raises(UserError, match=r"group_by=model\.gan_los.*Did you mean 'model\.gan_loss'"):
        collect([tmp_path], ["model.gan_los"])


def test_which_options_make_experiments(tmp_path: Path) -> None:
    by_psnr = {"callbacks.best": {"monitor": "val/psnr"}}
    without_effect = {"data.root": "elsewhere", "trainer.accelerator": "gpu"}
    make_run(tmp_path / "0", options=by_psnr)
    run = make_run(tmp_path / "1", seed=3, options=by_psnr | without_effect)
    edit_text(run / ".hydra" / "config.yaml", lambda text: text.replace("seed: 3", "seed: ${oc.env:SLURM_TASK}"))
    make_run(tmp_path / "2", options={"callbacks.best": {"monitor": "val/ssim"}})
    assert compared([tmp_path]) == {"pix2pix (monitor=val/psnr)": [0, 3], "pix2pix (monitor=val/ssim)": [0]}


def test_auto_is_what_it_was_for_each_run(tmp_path: Path) -> None:
    """Seeds that ran in another precision, or in other batches, are no repeats."""
    for seed, (precision, batch) in enumerate([("32-true", 4), ("bf16-mixed", 4), ("32-true", 8), ("32-true", 4)]):
        options = {"trainer.precision": "auto", "data.batch_size": "auto"}
        run = make_run(tmp_path / str(seed), seed=seed, options=options)
        edit_json(run / "run.json", precision=precision, batch_size=batch)
    assert sorted(compared([tmp_path]).values()) == [[0, 3], [1], [2]]


def test_of_a_repeated_run_the_later_one_counts(tmp_path: Path) -> None:
    make_run(tmp_path / "0")
    edit_json(make_run(tmp_path / "1", noise=30) / "run.json", started="2026-02-01T00:00:00")
    assert [run.folder.name for run in collect([tmp_path])[0][0].runs] == ["1"]
    assert "repeated later" in reasons(tmp_path)["0"]


@pytest.mark.parametrize(("unlike", "reason"), [
    ({"fingerprint": "b" * 64}, "data fingerprint bbbbbbbbbbbb instead of aaaaaaaaaaaa"),
    ({"count": 2}, "test images 2 of 2 instead of 3 of 3"),
    ({"options": {"data.resize": "stretch"}}, "data.resize stretch instead of crop"),
    ({}, "MSE of identity"),  # other inputs, whatever the options say
])  # fmt: skip
def test_runs_on_other_images_are_not_compared(unlike: dict[str, Any], reason: str, tmp_path: Path) -> None:
    make_run(tmp_path / "a", seed=0)
    make_run(tmp_path / "b", seed=1)
    other = make_run(tmp_path / "c", model="autoencoder", **unlike)
    if not unlike:
        edit_text(other / "test" / "identity.csv", lambda text: text.replace("p000,", "p000,9"))
    assert compared([tmp_path]) == {"pix2pix": [0, 1]}
    assert f"not comparable with the other runs: {reason}" in reasons(tmp_path)["c"]
    assert collect([tmp_path])[1][0].run is not None  # its own scores are shown in the list of excluded runs


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "interrupted": lambda path: edit_json(path, status="interrupted"),
    "removed": lambda path: path.unlink(),
    "cut": lambda path: edit_text(path, lambda text: text[: len(text) // 2]),
    "binary": lambda path: path.write_bytes(b"\xff\xfe\x00name"),
    "other columns": lambda path: edit_text(path, lambda text: text.replace("psnr", "x").replace("step", "x")),
}
NEEDED = ("run.json", ".hydra/config.yaml", "test/per_image.csv", "test/identity.csv", "test/metrics.json")
OPTIONAL = ("metrics.csv", "evaluate/train/metrics.json")


@pytest.mark.parametrize(("file", "damage"), [
    *itertools.product(NEEDED, ["removed", "binary"]), *itertools.product(OPTIONAL, ["binary"]),
    ("run.json", "interrupted"), ("run.json", "cut"),
    ("test/per_image.csv", "other columns"), ("metrics.csv", "other columns"),
])  # fmt: skip
def test_an_unfinished_or_damaged_run_is_named_and_the_rest_compared(file: str, damage: str, tmp_path: Path) -> None:
    make_run(tmp_path / "good")
    bad = make_run(tmp_path / "bad", seed=1, train=5.0)
    DAMAGE[damage](bad / file)
    assert compared([tmp_path]) == {"pix2pix": [0]}
    expected = "interrupted: not finished" if damage == "interrupted" else f"{Path(file).name}|can't be read \\("
    assert re.search(expected, reasons(tmp_path)["bad"])


def test_a_later_evaluation_adds_its_metrics_or_takes_the_place_of_the_test(tmp_path: Path) -> None:
    run, again = make_run(tmp_path / "runs" / "run"), make_run(tmp_path / "again", report={"report/mse": 600.0})
    (run / "evaluate").mkdir()
    (again / "test").rename(run / "evaluate" / "test")
    for _ in range(2):
        assert collect([tmp_path / "runs"])[0][0].trained[0].means("report/mse") == [600.0]
        shutil.rmtree(run / "test", ignore_errors=True)
    shutil.rmtree(run / "evaluate")
    assert f"image_translation.evaluate run={run}" in reasons(tmp_path / "runs")["run"]


def test_train_and_test_are_of_the_same_runs(tmp_path: Path) -> None:
    for seed in range(3):
        make_run(tmp_path / str(seed), seed=seed, train=None if seed == 1 else 5)
    for file in OPTIONAL:
        (tmp_path / "2" / file).unlink()  # an evaluation that was cut short
    assert [run.seed for run in collect([tmp_path])[0][0].trained[0].with_train.runs] == [0]
    assert compared([tmp_path]) == {"pix2pix": [0, 1, 2]}


def test_the_folds_of_a_cross_validation_are_one_run(tmp_path: Path) -> None:
    """With every image once; a run without all its folds is not compared."""
    for model, seed, folds in (("pix2pix", 0, (0, 1, 2)), ("pix2pix", 1, (0, 1, 2)), ("autoencoder", 0, (0, 2))):
        for fold in folds:
            run = make_run(tmp_path / f"{model}_{seed}_{fold}", model=model, seed=seed, fingerprint=str(fold) * 64,
                           count=2 + fold, options={"data.folds": 3, "data.fold": fold})  # fmt: skip
            rename = {f"p{index:03d}": f"p{fold}{index:02d}" for index in range(2 + fold)}
            for old, new in rename.items():
                for kind in ("images", "inputs", "targets"):
                    (run / "test" / kind / f"{old}.png").rename(run / "test" / kind / f"{new}.png")
                for table in ("per_image", "identity"):
                    edit_text(run / "test" / f"{table}.csv", lambda text, old=old, new=new: text.replace(old, new))
            edit_json(run / "test" / "metrics.json", **{"perceptual/sharpness": float(fold), "perceptual/fid": 1.0})
    (task,), excluded = collect([tmp_path])
    (experiment,) = task.trained
    assert [run.seed for run in experiment.runs] == [0, 1]
    assert task.names == ["p000", "p001", "p100", "p101", "p102", "p200", "p201", "p202", "p203"]
    for run in experiment.runs:
        rows = {row["name"]: float(row["psnr"]) for fold in range(3)
                for row in read_csv(tmp_path / f"pix2pix_{run.seed}_{fold}" / "test" / "per_image.csv")}  # fmt: skip
        assert {name: row["psnr"] for name, row in run.scores.items()} == rows
        assert run.means["psnr"] == pytest.approx(sum(rows.values()) / 9)
        assert run.means["perceptual/sharpness"] == pytest.approx((0 * 2 + 1 * 3 + 2 * 4) / 9)
        assert "perceptual/fid" not in run.means
        assert all((place / "images" / f"{name}.png").exists() for name, place in run.places.items())
    reasons = {item.folder.name: item.reason for item in excluded}
    assert reasons.keys() == {"autoencoder_0_0", "autoencoder_0_2"}
    assert all("lacks a finished run with data.fold=1" in reason for reason in reasons.values())


def test_windows_of_other_sizes_are_comparable_and_kinds_that_a_run_does_not_know_are_the_usual(tmp_path: Path) -> None:
    """Whatever it is trained on, a model is tested on whole images."""
    windows = {"data.resize": "random_crop", "data.input": "rgb", "data.target": "rgb", "data.classes": None}
    make_run(tmp_path / "a", model="a", options={"data.resize": "random_crop"})
    make_run(tmp_path / "b", model="b", options=windows | {"data.image_size": [64, 96]})
    make_run(tmp_path / "c", model="c", options=windows | {"data.input": "grey"})
    (task,), excluded = collect([tmp_path])
    assert [experiment.label for experiment in task.trained] == ["a", "b"]
    assert [(run.folder.name, "data.input" in run.reason) for run in excluded] == [("c", True)]
