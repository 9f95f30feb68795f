"""Which runs are compared, what is said of the others, and the command, on run folders made without training."""

import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from conftest import Command, read_csv, read_json, succeeded
from helpers.fake_runs import edit_json, edit_text, make_run
from scipy import stats

from image_translation import compare as module
from image_translation.cli.errors import UserError
from image_translation.compare import compare
from image_translation.comparison.collect import collect
from image_translation.runs.files import write_csv


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tasks, two models, three seeds; Pix2Pix clearly better on comic, alike on monet; one run failed."""
    root, report = tmp_path_factory.mktemp("runs"), {"report/mse": 600.0, "report/ssim": 0.91}
    for seed in range(3):
        for task, model, noise in [("comic", "pix2pix", 10), ("comic", "autoencoder", 20),
                                   ("monet", "pix2pix", 20), ("monet", "autoencoder", 20)]:  # fmt: skip
            train = 5.0 if model == "pix2pix" else 15.0
            make_run(root / f"{task}_{model}_{seed}", task, model, seed, noise, 12, train=train, report=report)
    make_run(root / "broken", seed=9, status="failed")
    return root


@pytest.fixture(scope="module")
def results(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    reference = {"name": "elsewhere", "note": "printed", "scores": {"comic": {"pix2pix": {"mse": 519.9}}}}
    compare([runs], output := tmp_path_factory.mktemp("compare"), reference=reference)
    return output


def scores(runs: Path, name: str, metric: str) -> "np.ndarray":
    """Of each seed and image."""
    tables = [read_csv(runs / f"{name}_{seed}" / "test" / "per_image.csv") for seed in range(3)]
    return np.array([[float(row[metric]) for row in table] for table in tables])


def test_table_csv_has_the_means_and_the_spread_of_the_seeds(results: Path, runs: Path) -> None:
    rows = {(r["task"], r["model"], r["split"], r["metric"]): r for r in read_csv(results / "table.csv")}
    for name, metric in itertools.product(("comic_pix2pix", "monet_autoencoder"), ("mse", "psnr", "ssim")):
        means = scores(runs, name, metric).mean(axis=1)
        row = rows[(*name.split("_"), "test", metric)]
        assert float(row["mean"]) == pytest.approx(means.mean())
        assert float(row["standard_deviation"]) == pytest.approx(means.std(ddof=1))
        assert (row["runs"], row["images"]) == ("3", "12")
    assert float(rows["comic", "pix2pix", "test", "report/mse"]["mean"]) == 600.0
    identity = [float(row["psnr"]) for row in read_csv(runs / "comic_pix2pix_0" / "test" / "identity.csv")]
    row = rows["comic", "identity", "test", "psnr"]
    assert (float(row["mean"]), row["standard_deviation"]) == (pytest.approx(np.mean(identity)), "")
    train, test = (float(rows["comic", "pix2pix", split, "psnr"]["mean"]) for split in ("train", "test"))
    assert train > test
    assert len(read_csv(results / "per_image.csv")) == 2 * 2 * 3 * 12 + 2 * 12


def test_tables_have_the_studys_arrangement_with_the_best_in_bold(results: Path, runs: Path) -> None:
    lines = (results / "table.md").read_text().splitlines()
    header, comic, monet = ([cell.strip() for cell in lines[i].strip("|").split("|")] for i in (0, 2, 3))
    columns = itertools.product(("MSE ↓", "PSNR ↑", "SSIM ↑"), ("autoencoder", "pix2pix", "identity"))
    assert header[1:] == [" ".join(column) for column in columns]
    means = scores(runs, "comic_pix2pix", "psnr").mean(axis=1)
    assert (comic[0], comic[5]) == ("comic", f"**{means.mean():.2f} ± {means.std(ddof=1):.2f}**")
    assert ["**" in cell for cell in comic[1:]] == [False, True, False] * 3
    assert not any("**" in cell for cell in monet)  # two models with the same noise differ by chance only
    assert "Mean over 3 seeds of each model" in lines[-1]
    latex = (results / "table.tex").read_text()
    assert latex.count(r"\textbf{") == 3
    assert r"\multicolumn{3}{c}{PSNR $\uparrow$}" in latex


def test_sentences_say_what_scipy_finds(results: Path, runs: Path) -> None:
    findings = read_json(results / "comparison.json")
    comic, monet = findings["between_models"]
    assert len(findings["against_identity"]) == 4
    a, b = (scores(runs, f"comic_{model}", "psnr").mean(axis=0) for model in ("pix2pix", "autoencoder"))
    # 18 comparisons, and 12 images that all agree: p is 2 / 2**12, so all those of equal p are first in Holm's order.
    assert stats.wilcoxon(a - b).pvalue == pytest.approx(2 / 2**12)
    assert comic.startswith("On comic, pix2pix is better than autoencoder by MSE, PSNR and SSIM (PSNR ")
    assert f"PSNR +{(a - b).mean():.2f} dB" in comic
    assert "better on 12 of 12 images; p = 0.009)" in comic  # 18 × 2 / 4096 = 0.0088
    assert "no significant difference between autoencoder and pix2pix in MSE, PSNR and SSIM" in monet
    page = (results / "report.html").read_text()
    for part in ("pix2pix, elsewhere", "519.9", "On comic, the ranking is the same on training and test images.",
                 "On monet, no trained model is significantly better", "failed: the disk is full",
                 "On comic, pix2pix is significantly better than all others by MSE, PSNR and SSIM",
                 "On monet, no clear winner: no model is significantly better than all others by MSE"):  # fmt: skip
        assert part in page


def test_the_command_prints_the_table_and_names_what_is_left_out(runs: Path, tmp_path: Path, command: Command) -> None:
    result = succeeded(command("compare", f"runs=[{runs}]", f"output={tmp_path / 'out'}", "reference=study"))
    for part in ("pix2pix", "identity", "PSNR ↑", "±", "On comic, pix2pix is better", "Not compared:", "report.html",
                 "failed: the disk is full"):  # fmt: skip
        assert part in result.stdout
    assert list((tmp_path / "cwd").iterdir()) == []
    assert "696.9" in (tmp_path / "out" / "report.html").read_text()
    succeeded(command("compare", f"runs={runs}", f"output={tmp_path / 'out'}"))  # its own results are replaced


def test_mistakes_end_with_one_message(runs: Path, tmp_path: Path, command: Command) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "report.html").write_text("my own")
    for arguments, message in {
        (): "no finished run to compare in outputs or multirun",
        ("runs=[nowhere]",): "runs=nowhere: there is no such folder",
        (f"runs=[{runs / 'broken'}]",): "broken: failed: the disk is full",
        (f"runs=[{runs}]", "reference=paper"): "unknown reference 'paper'; there are study",
        (f"runs=[{runs}]", f"output={tmp_path / 'mine'}"): "a report.html that no comparison wrote",
    }.items():
        result = command("compare", *arguments)
        assert result.returncode == 1
        assert "Traceback" not in result.stderr
        assert result.stderr.count("Error:") == 1
        assert message in result.stderr
    assert (tmp_path / "mine" / "report.html").read_text() == "my own"


def test_one_run_of_each_is_never_called_significant(tmp_path: Path) -> None:
    make_run(tmp_path / "a", model="pix2pix", noise=5, count=12)
    (make_run(tmp_path / "b", model="autoencoder", noise=40, count=12) / "metrics.csv").unlink()
    compare([tmp_path], tmp_path / "out")
    assert "**" not in (tmp_path / "out" / "table.md").read_text()
    (sentence,) = read_json(tmp_path / "out" / "comparison.json")["between_models"]
    assert "on these images, though other seeds may differ, pix2pix is better than autoencoder" in sentence


def test_a_ranking_that_training_images_turn_is_named(tmp_path: Path) -> None:
    for seed in range(2):
        make_run(tmp_path / f"a{seed}", model="pix2pix", seed=seed, noise=10, count=12, train=30)
        make_run(tmp_path / f"b{seed}", model="autoencoder", seed=seed, noise=20, count=12, train=5)
    compare([tmp_path], tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "the ranking differs on the training images: autoencoder is better than pix2pix by MSE" in page


def test_missing_images_and_unevaluated_splits_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    images = make_run(tmp_path / "a", noise=5) / "test" / "images"
    (images / "p001.png").unlink()
    (images / "p002.png").write_bytes(b"\x89PNG broken")
    compare([tmp_path], tmp_path / "out")
    assert "training images of pix2pix were not evaluated" in (tmp_path / "out" / "report.html").read_text()
    assert f"{images}: 2 images are missing or damaged" in caplog.text


def test_cautions(tmp_path: Path) -> None:
    for weight in (10, 100):
        make_run(tmp_path / f"{weight}", options={"model.lambda_l1": weight}, count=4)
    run = make_run(tmp_path / "auto", model="autoencoder", count=4, options={"trainer.max_epochs": 9})
    edit_json(run / "run.json", data=read_json(run / "run.json")["data"] | {"sample": True})
    compare([tmp_path], tmp_path / "out", group_by=["model._target_"])
    cautions = read_json(tmp_path / "out" / "comparison.json")["cautions"]
    for part in ("the built-in sample", "trainer.max_epochs differs: 9 for autoencoder",
                 "differ in model.lambda_l1; not", "4 test images are too few for 9 comparisons"):  # fmt: skip
        assert any(part in line for line in cautions), part


@pytest.mark.parametrize("name", ["a$\\bad$b", "x|y_z*", "漫画 [red] %d{}", 'shot 3\u202fPM \u2028 #1 100% "a" <b>&'])
def test_any_name_can_be_shown(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Of tasks, models and images."""
    run = make_run(tmp_path / "run", task=name, model=name, count=2)
    for path in (run / "test").rglob("p000.png"):
        path.rename(path.with_name(f"{name}.png"))
    for file in ("per_image.csv", "identity.csv"):
        first, *others = read_csv(run / "test" / file)
        write_csv(run / "test" / file, [first | {"name": name}, *others], list(first))
    compare([tmp_path], tmp_path / "out")
    assert name in capsys.readouterr().out
    assert caplog.text == ""  # no image is missing
    rows = (tmp_path / "out" / "table.md").read_text().split("\n")
    assert rows[0].replace("\\|", "").count("|") == rows[2].replace("\\|", "").count("|") == 8
    assert read_csv(tmp_path / "out" / "table.csv")[0]["task"] == name
    assert name in {row["name"] for row in read_csv(tmp_path / "out" / "per_image.csv")}


def test_a_comparison_that_was_cut_short_can_be_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(tmp_path / "run")
    monkeypatch.setattr(module, "write_text", Mock(side_effect=OSError("the disk is full")))
    with pytest.raises(OSError, match="full"):
        compare([tmp_path / "run"], tmp_path / "out")
    monkeypatch.undo()
    compare([tmp_path / "run"], tmp_path / "out")
    assert (tmp_path / "out" / "report.html").exists()


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


def test_a_run_that_was_not_tested_can_be_tested_later(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run / "evaluate").mkdir()
    (run / "test").rename(run / "evaluate" / "other")
    assert f"image_translation.evaluate run={run}" in reasons(tmp_path)["run"]
    (run / "evaluate" / "other").rename(run / "evaluate" / "test")
    assert compared([tmp_path]) == {"pix2pix": [0]}


@pytest.mark.parametrize(("noise", "found"), [(20.0, [600.0]), (90.0, [])])
def test_a_later_evaluation_adds_its_metrics_if_it_is_of_the_same_outputs(
    noise: float, found: list[float], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = make_run(tmp_path / "runs" / "run")
    (run / "evaluate").mkdir()
    again = make_run(tmp_path / "again", noise=noise, report={"report/mse": 600.0})
    (again / "test").rename(run / "evaluate" / "test")
    assert collect([tmp_path / "runs"])[0][0].trained[0].means("report/mse") == found
    assert ("evaluate/test is left out" in caplog.text) == (not found)


def test_train_and_test_are_of_the_same_runs(tmp_path: Path) -> None:
    for seed in range(3):
        make_run(tmp_path / str(seed), seed=seed, train=None if seed == 1 else 5)
    for file in OPTIONAL:
        (tmp_path / "2" / file).unlink()  # an evaluation that was cut short
    assert [run.seed for run in collect([tmp_path])[0][0].trained[0].with_train.runs] == [0]
    assert compared([tmp_path]) == {"pix2pix": [0, 1, 2]}
