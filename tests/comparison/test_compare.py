"""The comparison and its command, on run folders made without training."""

import io
import itertools
from base64 import b64decode
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from conftest import Command, read_csv, read_json, succeeded
from helpers.fake_runs import edit_json, make_run
from PIL import Image
from scipy import stats

from image_translation import compare as module
from image_translation.compare import compare
from image_translation.comparison.images import encode
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
    assert len(findings["against_baselines"]) == 4
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


def test_of_many_models_the_best_are_compared_and_all_listed(tmp_path: Path) -> None:
    noises = {50: 12, 100: 8, 200: 20, 400: 14}
    for weight, noise in noises.items():
        make_run(tmp_path / f"{weight}", noise=noise, count=20, options={"model.lambda_l1": weight})
    compare([tmp_path], tmp_path / "out", most=2)
    found = read_json(tmp_path / "out" / "comparison.json")
    best = ["pix2pix (lambda_l1=50)", "pix2pix (lambda_l1=100)"]
    (sentence,) = found["between_models"]
    assert all(label in sentence for label in best)
    assert len(found["against_baselines"]) == 2
    assert any("the 2 best of 4 models, chosen by PSNR" in line for line in found["cautions"])
    rows = {row["model.lambda_l1"] for row in read_csv(tmp_path / "out" / "table.csv")}
    assert rows >= {"50", "100", "200", "400"}
    page = (tmp_path / "out" / "report.html").read_text()
    assert all(f"Worst of {label}" in page for label in best)
    assert "Worst of pix2pix (lambda_l1=200)" not in page


def test_cautions(tmp_path: Path) -> None:
    for weight in (10, 100):
        make_run(tmp_path / f"{weight}", options={"model.lambda_l1": weight}, count=4)
    run = make_run(tmp_path / "auto", model="autoencoder", count=4, options={"trainer.max_epochs": 9})
    edit_json(run / "run.json", data=read_json(run / "run.json")["data"] | {"sample": True})
    compare([tmp_path], tmp_path / "out", group_by=["model._target_"])
    cautions = read_json(tmp_path / "out" / "comparison.json")["cautions"]
    for part in ("the built-in sample", "trainer.max_epochs differs: 9 for autoencoder",
                 "differ in model.lambda_l1; not", "4 test images are too few for so many comparisons"):  # fmt: skip
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


def test_transparent_images_are_shown_on_white(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(tmp_path / "it.png")
    content = b64decode(str(encode(tmp_path / "it.png", 256)).partition(",")[2])
    assert Image.open(io.BytesIO(content)).convert("RGB").getpixel((4, 4)) == (255, 255, 255)


def test_a_comparison_that_was_cut_short_can_be_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(tmp_path / "run")
    monkeypatch.setattr(module, "write_text", Mock(side_effect=OSError("the disk is full")))
    with pytest.raises(OSError, match="full"):
        compare([tmp_path / "run"], tmp_path / "out")
    monkeypatch.undo()
    compare([tmp_path / "run"], tmp_path / "out")
    assert (tmp_path / "out" / "report.html").exists()
