"""The command ``train``: what a run leaves behind, and how it ends."""

import os
import re
import shlex
import signal
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import (
    REAL_DATA,
    SIZE,
    TINY,
    TINY_AUTOENCODER,
    TINY_PIX2PIX,
    Command,
    image,
    read_csv,
    read_json,
    succeeded,
)
from helpers.processes import start, wait_for
from helpers.wandb_runs import read_offline_run
from PIL import Image
from skimage.metrics import mean_squared_error, structural_similarity

import image_translation


def test_run_folder(finished_run: Path) -> None:
    expected = {
        ".hydra/config.yaml", ".hydra/overrides.yaml", "train.log", "run.json", "metrics.csv", "checkpoints/best.ckpt",
        "checkpoints/last.ckpt", "test/metrics.json", "test/per_image.csv", "test/identity.csv",
        "test/color_curve.csv",
        *(f"test/{kind}/test{i}.png" for i in range(4) for kind in ("images", "inputs", "targets")),
        *(f"panels/epoch_{i:04}.png" for i in range(3)),
    }  # fmt: skip
    there = {str(path.relative_to(finished_run)) for path in finished_run.rglob("*") if path.is_file()}
    assert expected <= there
    # Beside the run folder nothing but what the fixture put there.
    assert {path.name for path in finished_run.parent.iterdir()} <= {"pairs", "run", "stdout.txt", "stderr.txt"}


def test_manifest(finished_run: Path) -> None:
    run = read_json(finished_run / "run.json")
    assert run["status"] == "finished"
    assert (run["task"], run["model"], run["seed"]) == ("comic", "pix2pix", 0)
    assert (run["epochs"], run["steps"]) == (2, 6)
    assert run["data"]["counts"] == {"train": 6, "val": 2, "test": 4}
    assert run["data"]["sample"] is False
    assert len(run["data"]["fingerprint"]) == 64
    assert run["device"]["type"] == "cpu"
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    assert run["precision"] == ("bf16-mixed" if "avx512_bf16" in flags or "amx_bf16" in flags else "32-true")
    assert run["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert run["parameters"] == sum(p.numel() for p in image_translation.load(finished_run).parameters())
    assert run["wandb_id"] == read_offline_run(finished_run).id
    assert run["wall_time_s"] > run["cost"]["training_s"] > 0
    assert run["cost"]["training_images_per_s"] == pytest.approx(2 * 6 / run["cost"]["training_s"], rel=1e-2)
    assert run["cost"]["peak_memory_mib"] > 50
    assert run["cost"]["flops_per_image"] > 0
    rows = read_csv(finished_run / "metrics.csv")
    assert run["optimized_metric"] == pytest.approx(max(float(row["val/psnr"]) for row in rows), rel=1e-5)
    assert run["test"]["psnr"] == read_json(finished_run / "test" / "metrics.json")["test/psnr"]


def test_scores_are_those_of_the_saved_images(finished_run: Path) -> None:
    """By scikit-image; and the saved images are what the loaded model predicts."""
    results, pairs = finished_run / "test", finished_run.parent / "pairs" / "test"
    model, rows = image_translation.load(finished_run), read_csv(results / "per_image.csv")
    assert [row["name"] for row in rows] == [f"test{i}" for i in range(4)]
    errors = []
    for row in rows:
        file = f"{row['name']}.png"
        source, target = (np.asarray(Image.open(pairs / side / file)) for side in ("face", "comics"))
        output = np.asarray(Image.open(results / "images" / file))
        mse = mean_squared_error(output, target)
        assert float(row["mse"]) == pytest.approx(mse, abs=1e-3)
        assert float(row["psnr"]) == pytest.approx(10 * np.log10(255**2 / mse), abs=1e-3)
        ssim = structural_similarity(
            target, output, channel_axis=-1, gaussian_weights=True, use_sample_covariance=False
        )
        assert float(row["ssim"]) == pytest.approx(ssim, abs=1e-3)
        assert np.array_equal(Image.open(results / "inputs" / file), source)
        assert np.array_equal(Image.open(results / "targets" / file), target)
        assert np.abs(model.predict(source).astype(int) - output).max() <= 1
        errors.append(mean_squared_error(source, target))
    means = read_json(results / "metrics.json")
    for metric in ("mse", "psnr", "ssim"):
        assert means[f"test/{metric}"] == pytest.approx(np.mean([float(row[metric]) for row in rows]))
    assert means["identity/mse"] == pytest.approx(np.mean(errors))
    assert [float(row["mse"]) for row in read_csv(results / "identity.csv")] == pytest.approx(errors)


def test_output_ends_with_the_table_and_is_quiet(finished_run: Path) -> None:
    text, errors = ((finished_run.parent / f"{name}.txt").read_text() for name in ("stdout", "stderr"))
    means = read_json(finished_run / "test" / "metrics.json")
    table = [line for line in text.splitlines() if line.startswith(("│ pix2pix", "│ color_curve", "│ identity"))]
    for line, row in zip(table, ("test", "color_curve", "identity"), strict=True):
        for metric in ("mse", "psnr", "ssim"):
            assert f"{means[f'{row}/{metric}']:.3f}" in line
    *_, images, below, last = text.rstrip().splitlines()
    assert images.startswith("Images: ")
    assert "test/images" in images
    assert below == "Below color_curve in PSNR and SSIM: pix2pix has learned no structure yet."  # after two epochs
    assert re.match(r"Look at .*run/results\.png: ", last)
    for noise in ("Warning", "warn", "GPU available", "deprecat", "Trainer.fit", "Tip"):
        assert noise not in text + errors


def test_panels_show_the_same_images_and_the_model_at_work(finished_run: Path) -> None:
    """A column each of inputs, targets and outputs; a row for each image."""
    panels = [np.asarray(Image.open(finished_run / "panels" / f"epoch_{i:04}.png")) for i in range(3)]
    edge, title, step = 4, 18, SIZE + 4
    assert panels[0].shape == (title + edge + 2 * step, edge + 3 * step, 3)
    for row, (column, side) in product(range(2), enumerate(("face", "comics"))):
        shown = panels[0][title + edge + row * step :, edge + column * step :][:SIZE, :SIZE]
        assert np.array_equal(shown, Image.open(finished_run.parent / "pairs" / "val" / side / f"val{row}.png"))
    for panel in panels[1:]:
        assert np.array_equal(panel[:, : 2 * step], panels[0][:, : 2 * step])
        assert not np.array_equal(panel[title:, 2 * step :], panels[0][title:, 2 * step :])


def test_a_sweeper_gets_the_metric_that_it_asks_for(comic_root: Path, command: Command, tmp_path: Path) -> None:
    run = tmp_path / "run"
    succeeded(command("train", "model=identity", *TINY, f"data.root={comic_root}", "optimized_metric=test/ssim",
                      f"hydra.run.dir={run}"))  # fmt: skip
    manifest = read_json(run / "run.json")
    assert manifest["optimized_metric"] == manifest["test"]["ssim"]


@pytest.mark.parametrize(
    ("sent", "status", "workers"),
    [
        (signal.SIGINT, 130, 0),
        (signal.SIGTERM, 143, 2),
        pytest.param(signal.SIGHUP, 143, 0, marks=pytest.mark.slow),
    ],
)
def test_a_signal_keeps_the_last_checkpoint(
    sent: signal.Signals, status: int, workers: int, comic_root: Path, tmp_path: Path
) -> None:
    """Sent to all its processes, as a terminal and a queue do."""
    run = tmp_path / "run"
    process = start(run, *TINY_AUTOENCODER, f"data.root={comic_root}", "logger=wandb", f"data.num_workers={workers}",
                    "data.cache=none", "trainer.max_epochs=100000", "callbacks.panels.panel_every=100000")  # fmt: skip
    assert wait_for(process, (run / "metrics.csv").exists)
    os.killpg(process.pid, sent)
    assert process.wait(120) == status
    assert "Traceback" not in (tmp_path / "run.txt").read_text()
    assert read_json(run / "run.json")["status"] == "interrupted"
    last = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] > 0
    assert last["optimizer_states"]
    assert read_offline_run(run).exit_code == 1


@pytest.mark.parametrize("options", [TINY_PIX2PIX, TINY_AUTOENCODER])
def test_two_processes_train_and_test_as_one(
    options: tuple[str, ...], comic_root: Path, command: Command, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    succeeded(command("train", *options, f"data.root={comic_root}", "data.eval_batch_size=1", "trainer.devices=2",
                      "trainer.strategy=ddp", f"hydra.run.dir={run}"))  # fmt: skip
    manifest = read_json(run / "run.json")
    assert manifest["device"]["count"] == 2
    assert manifest["steps"] == 2  # six images, two at a time on two devices: 2 + 1
    rows = read_csv(run / "test" / "per_image.csv")
    assert [row["name"] for row in rows] == [f"test{i}" for i in range(4)]
    before = read_json(run / "test" / "metrics.json")
    succeeded(command("evaluate", f"run={run}"))
    assert read_json(run / "evaluate" / "test" / "metrics.json") == pytest.approx(before)


def test_a_folder_that_holds_a_run_or_images_is_not_used(
    finished_run: Path, comic_root: Path, command: Command
) -> None:
    def content(folder: Path) -> dict[Path, bytes]:
        # W&B's process may still write its own log.
        files = (
            path for path in folder.rglob("*") if path.is_file() and path.suffix != ".log" and path.name != ".lock"
        )
        return {path: path.read_bytes() for path in files}

    for folder in (finished_run, comic_root):
        before = content(folder)
        result = command("train", *TINY_AUTOENCODER, f"data.root={comic_root}", f"hydra.run.dir={folder}")
        assert result.returncode == 1
        assert "is not empty, and nothing is overwritten" in result.stderr
        assert content(folder) == before


@pytest.mark.realdata
@pytest.mark.parametrize(("task", "count"), [("comic", 10), ("monet", 100), ("coloring", 200)])
def test_real_pairs_train(task: str, count: int, command: Command, tmp_path: Path) -> None:
    run = tmp_path / "run"
    succeeded(command("train", f"task={task}", *TINY_AUTOENCODER, f"data.root={REAL_DATA / task}",
                      "trainer.limit_train_batches=4", f"hydra.run.dir={run}"))  # fmt: skip
    assert len(read_csv(run / "test" / "per_image.csv")) == count


@pytest.mark.gpu
def test_trains_on_the_gpu_by_default(comic_root: Path, command: Command, tmp_path: Path) -> None:
    options = [option for option in TINY_PIX2PIX if option != "trainer.accelerator=cpu"]
    succeeded(command("train", *options, f"data.root={comic_root}", f"hydra.run.dir={tmp_path / 'run'}"))
    assert read_json(tmp_path / "run" / "run.json")["device"]["type"] == "cuda"


def test_after_the_sample_come_the_next_commands(command: Command, tmp_path: Path) -> None:
    """The first of them works as it is printed, in any folder."""
    result = succeeded(command("train", "model=color_curve", "data.image_size=32", "logger=none", "trainer=cpu"))
    use, train, compare = result.stdout.splitlines()[-3:]
    assert train.endswith("-m image_translation.train task=comic model=resunet data.root=path/to/pairs")
    assert compare.endswith("-m image_translation.compare")
    image(0).save(tmp_path / "cwd" / "photo.jpg")
    options = shlex.split(use)[1:]
    done = subprocess.run([sys.executable, *options], cwd=tmp_path / "cwd", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert Image.open(tmp_path / "cwd" / "predicted" / "photo.jpg").size == image(0).size
