"""The command, on run folders made without training."""

import csv
import json
import statistics
from pathlib import Path

import numpy as np
import pytest
from conftest import Command, succeeded
from fake_runs import make_run
from scipy import stats

from image_translation import compare as module
from image_translation.compare import compare
from image_translation.comparison.collect import collect
from image_translation.comparison.summary import generalization
from image_translation.runs.files import write_csv

REPORT = {"mse": 600.0, "psnr": 20.3, "ssim": 0.91}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tasks, two models, three seeds; Pix2Pix clearly better on comic, alike on monet; one run failed."""
    root = tmp_path_factory.mktemp("runs")
    for seed in range(3):
        for task, model, noise in [("comic", "pix2pix", 10), ("comic", "autoencoder", 20),
                                   ("monet", "pix2pix", 20), ("monet", "autoencoder", 20)]:  # fmt: skip
            train = 5.0 if model == "pix2pix" else 15.0
            make_run(root / f"{task}_{model}_{seed}", task, model, seed, noise, train=train, report=REPORT)
    make_run(root / "broken", seed=9, status="failed")
    return root


@pytest.fixture(scope="module")
def results(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("compare")
    reference = {"name": "elsewhere", "note": "printed", "scores": {"comic": {"pix2pix": {"mse": 519.9}}}}
    compare([runs], output, reference=reference)
    return output


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def scores(runs: Path, name: str, measure: str) -> list[list[float]]:
    return [[float(row[measure]) for row in read(runs / f"{name}_{seed}" / "test" / "per_image.csv")]
            for seed in range(3)]  # fmt: skip


def test_table_csv_has_the_means_and_the_spread_of_the_seeds(results: Path, runs: Path) -> None:
    rows = {(row["task"], row["model"], row["split"], row["measure"]): row for row in read(results / "table.csv")}
    for name in ("comic_pix2pix", "monet_autoencoder"):
        task, model = name.split("_")
        for measure in ("mse", "psnr", "ssim"):
            means = [statistics.fmean(run) for run in scores(runs, name, measure)]
            row = rows[task, model, "test", measure]
            assert float(row["mean"]) == pytest.approx(statistics.fmean(means))
            assert float(row["standard_deviation"]) == pytest.approx(statistics.stdev(means))
            assert (row["runs"], row["images"]) == ("3", "12")
    assert float(rows["comic", "pix2pix", "test", "report/mse"]["mean"]) == 600.0
    identity = [float(row["psnr"]) for row in read(runs / "comic_pix2pix_0" / "test" / "identity.csv")]
    assert float(rows["comic", "identity", "test", "psnr"]["mean"]) == pytest.approx(statistics.fmean(identity))
    assert rows["comic", "identity", "test", "psnr"]["standard_deviation"] == ""
    assert float(rows["comic", "pix2pix", "train", "psnr"]["mean"]) > float(
        rows["comic", "pix2pix", "test", "psnr"]["mean"]
    )


def test_tables_stand_in_the_studys_arrangement_with_the_best_in_bold(results: Path, runs: Path) -> None:
    lines = (results / "table.md").read_text().splitlines()
    header, comic, monet = (line.strip("|").split("|") for line in (lines[0], lines[2], lines[3]))
    assert [cell.strip() for cell in header[1:]] == [
        f"{measure} {model}" for measure in ("MSE ↓", "PSNR ↑", "SSIM ↑")
        for model in ("autoencoder", "pix2pix", "identity")
    ]  # fmt: skip
    assert comic[0].strip() == "comic"
    means = [statistics.fmean(run) for run in scores(runs, "comic_pix2pix", "psnr")]
    assert comic[5].strip() == f"**{statistics.fmean(means):.2f} ± {statistics.stdev(means):.2f}**"
    assert ["**" in cell for cell in comic[1:]] == [False, True, False] * 3
    assert not any("**" in cell for cell in monet)  # two models with the same noise differ by chance only
    latex = (results / "table.tex").read_text()
    assert latex.count(r"\textbf{") == 3
    assert r"\multicolumn{3}{c}{PSNR $\uparrow$}" in latex


def test_per_image_csv_has_every_image_of_every_run(results: Path) -> None:
    rows = read(results / "per_image.csv")
    assert len(rows) == 2 * 2 * 3 * 12 + 2 * 12
    assert {row["model"] for row in rows} == {"pix2pix", "autoencoder", "identity"}


def test_sentences_say_what_scipy_finds(results: Path, runs: Path) -> None:
    sentences = json.loads((results / "comparison.json").read_text())["sentences"]
    assert len(sentences) == 6
    (said,) = [s for s in sentences if s.startswith("On comic") and "autoencoder" in s and "pix2pix" in s]
    a, b = (np.mean(scores(runs, f"comic_{model}", "psnr"), axis=0) for model in ("pix2pix", "autoencoder"))
    # 18 comparisons, and 12 images that all agree: p is 2 / 2**12, so all those of equal p are first in Holm's order.
    assert stats.wilcoxon(a - b).pvalue == pytest.approx(2 / 2**12)
    assert said.startswith("On comic, pix2pix is better than autoencoder by MSE, PSNR and SSIM (PSNR ")
    assert f"PSNR +{(a - b).mean():.2f} dB" in said
    assert "better on 12 of 12 images; p = 0.009)" in said  # 18 × 2 / 4096 = 0.0088
    (alike,) = [s for s in sentences if s.startswith("On monet") and "autoencoder" in s and "pix2pix" in s]
    assert "no difference beyond chance in MSE, PSNR and SSIM between autoencoder and pix2pix" in alike


def test_the_page_has_reference_generalization_and_the_failed_run(results: Path) -> None:
    page = (results / "report.html").read_text()
    assert "pix2pix, elsewhere" in page
    assert "519.9" in page
    assert "On comic the ranking survives on unseen images: by MSE pix2pix before autoencoder in both" in page
    assert "On monet no ranking is beyond chance on unseen images: by MSE" in page
    assert "comic: pix2pix is best by MSE, PSNR and SSIM, beyond chance." in page
    assert "monet: not settled; no column is best beyond chance (PSNR: " in page
    assert "failed: the disk is full" in page


def test_the_command_prints_the_table_and_names_what_is_left_out(runs: Path, tmp_path: Path, command: Command) -> None:
    result = succeeded(command("compare", f"runs=[{runs}]", f"output={tmp_path / 'out'}", "reference=study"))
    for part in ("pix2pix", "identity", "PSNR ↑", "±", "On comic, pix2pix is better", "Not compared:", "report.html",
                 "failed: the disk is full"):  # fmt: skip
        assert part in result.stdout
    assert list((tmp_path / "cwd").iterdir()) == []
    assert "696.9" in (tmp_path / "out" / "report.html").read_text()
    succeeded(command("compare", f"runs={runs}", f"output={tmp_path / 'out'}"))  # its own results are replaced


def test_mistakes_end_with_one_message(runs: Path, tmp_path: Path, command: Command) -> None:
    def message(*arguments: object) -> str:
        result = command("compare", *arguments)
        assert result.returncode == 1
        assert "Traceback" not in result.stderr
        assert result.stderr.count("Error:") == 1
        return result.stderr

    assert "no finished run to compare in outputs or multirun" in message()
    assert "runs=nowhere: there is no such folder" in message("runs=[nowhere]")
    assert "Did you mean 'model.lambda_l1'" in message(f"runs=[{runs}]", "by=[model.lambda_l2]")
    assert "unknown reference 'paper'; there are study" in message(f"runs=[{runs}]", "reference=paper")
    assert "runs=5: there is no such folder" in message("runs=5")
    assert "runs must be the name of a folder, got ['a']" in message("runs=[[a]]")
    assert "output must be the name of a folder, got None" in message(f"runs=[{runs}]", "output=null")
    assert "wandb must be one of True, False; got 'maybe'" in message(f"runs=[{runs}]", "wandb=maybe")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "report.html").write_text("my own")
    assert "report.html, which is not of a comparison" in message(f"runs=[{runs}]", f"output={tmp_path / 'mine'}")
    assert (tmp_path / "mine" / "report.html").read_text() == "my own"
    only_broken = message(f"runs=[{runs / 'broken'}]")
    assert "but these:" in only_broken
    assert "the disk is full" in only_broken


def test_one_run_of_each_is_never_called_beyond_chance(tmp_path: Path) -> None:
    make_run(tmp_path / "a", model="pix2pix", noise=5, count=30)
    make_run(tmp_path / "b", model="autoencoder", noise=40, count=30)
    compare([tmp_path], tmp_path / "out")
    assert "**" not in (tmp_path / "out" / "table.md").read_text()
    sentences = json.loads((tmp_path / "out" / "comparison.json").read_text())["sentences"]
    assert any("pix2pix is better than autoencoder" in s and "one run of a model" in s for s in sentences)


def test_a_single_model_is_compared_with_identity(tmp_path: Path) -> None:
    make_run(tmp_path / "a", noise=5)
    compare([tmp_path], tmp_path / "out")
    assert "pix2pix" in (tmp_path / "out" / "table.md").read_text()
    page = (tmp_path / "out" / "report.html").read_text()
    assert "training images were not measured for pix2pix" in page


def test_images_that_are_not_those_measured_are_named(tmp_path: Path) -> None:
    make_run(tmp_path / "a")
    bad = make_run(tmp_path / "b", model="autoencoder")
    image = bad / "test" / "images" / "p000.png"
    image.write_bytes((tmp_path / "a" / "test" / "inputs" / "p000.png").read_bytes())
    (bad / "test" / "images" / "p001.png").unlink()
    (bad / "test" / "images" / "p002.png").write_bytes(b"\x89PNG broken")
    compare([tmp_path], tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "test/images/p000.png is not the image that was measured. And 2 more" in page


def test_cautions(tmp_path: Path) -> None:
    for index, weight in enumerate((10, 100)):
        make_run(tmp_path / f"pix{index}", options={"model.lambda_l1": weight}, noise=5 + index, count=4)
    run = make_run(tmp_path / "auto", model="autoencoder", count=4, options={"trainer.max_epochs": 9})
    manifest = json.loads((run / "run.json").read_text())
    manifest["data"]["sample"] = True
    (run / "run.json").write_text(json.dumps(manifest))
    compare([tmp_path], tmp_path / "out", by=["model._target_"])
    found = json.loads((tmp_path / "out" / "comparison.json").read_text())["cautions"]
    for part in ("the built-in sample", "trainer.max_epochs differs: 9 for autoencoder",
                 "differ in model.lambda_l1, and not", "4 test images are few for 9 comparisons"):  # fmt: skip
        assert any(part in line for line in found), part


def test_train_and_test_are_of_the_same_runs(tmp_path: Path) -> None:
    for model in ("pix2pix", "autoencoder"):
        make_run(tmp_path / f"{model}0", model=model, seed=0, noise=5, train=5)
        make_run(tmp_path / f"{model}1", model=model, seed=1, noise=40)
    (section,) = collect([tmp_path]).sections
    for row in generalization(section)[:2]:
        measured = json.loads((tmp_path / f"{row.model}0" / "test" / "metrics.json").read_text())
        assert row.runs == 1
        assert row.test["psnr"] == pytest.approx(measured["test/psnr"])


@pytest.mark.parametrize(
    "name", ["com[/b]ic", "[red]", "a$\\bad$b", "x|y_z*", "漫画", "<b>&'\"", "%d{}", "two\nlines", "\udcff"]
)
def test_any_name_can_be_shown(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(2):
        make_run(tmp_path / f"{seed}", task=name, model=name, seed=seed)
    compare([tmp_path], tmp_path / "out")
    shown = name.encode("utf-8", "backslashreplace").decode().replace("\n", "\\n")
    assert shown in capsys.readouterr().out
    rows = (tmp_path / "out" / "table.md").read_text().splitlines()
    assert rows[0].replace("\\|", "").count("|") == rows[2].replace("\\|", "").count("|") == 8
    assert read(tmp_path / "out" / "table.csv")[0]["task"] == shown


def test_a_comparison_that_was_cut_short_can_be_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(tmp_path / "run")
    monkeypatch.setattr(module, "write_text", full_disk)
    with pytest.raises(OSError, match="full"):
        compare([tmp_path / "run"], tmp_path / "out")
    monkeypatch.undo()
    compare([tmp_path / "run"], tmp_path / "out")
    assert (tmp_path / "out" / "report.html").exists()


def full_disk(path: Path, text: str) -> None:
    path.write_text(text[:100])
    raise OSError("the disk is full")


def test_facts_of_a_manifest_may_be_missing_or_absurd(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    manifest = json.loads((run / "run.json").read_text())
    del manifest["git_commit"], manifest["device"]
    manifest |= {"parameters": int("9" * 400), "cost": {"training_s": "long", "flops_per_image": None}}
    (run / "run.json").write_text(json.dumps(manifest))
    compare([tmp_path], tmp_path / "out")
    assert "unknown" in (tmp_path / "out" / "report.html").read_text()


def test_images_with_odd_names_are_shown(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", count=2)
    odd = 'shot 3\u202fPM \u2028 #1 100% "a" </script>'.replace("/", "")
    for path in (run / "test").rglob("p000.png"):
        path.rename(path.with_name(f"{odd}.png"))
    for name in ("per_image.csv", "identity.csv"):
        rows = read(run / "test" / name)
        rows[0]["name"] = odd
        write_csv(run / "test" / name, rows, list(rows[0]))
    compare([tmp_path], tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "missing or damaged" not in page
    assert odd in {row["name"] for row in read(tmp_path / "out" / "per_image.csv")}
