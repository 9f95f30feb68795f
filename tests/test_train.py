"""The real command line: what a run leaves behind, and how it ends."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import (
    PROJECT,
    REAL_DATA,
    SIZE,
    TINY_AUTOENCODER,
    TINY_PIX2PIX,
    Command,
    comic_of,
    image,
    make_comic_root,
    succeeded,
)
from PIL import Image
from skimage.metrics import mean_squared_error, structural_similarity
from wandb_file import read_offline_run

import image_translation


def read_json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def weights(run: Path, name: str = "best") -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]
    return state


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Pix2Pix run of two epochs with W&B and TensorBoard; its pairs are beside it."""
    folder = tmp_path_factory.mktemp("finished")
    root = make_comic_root(folder / "pairs")
    environment = os.environ | {"PYTHONPATH": str(PROJECT), "NETRC": os.devnull, "OMP_NUM_THREADS": "1"}
    environment.pop("WANDB_API_KEY", None)
    result = subprocess.run(
        [sys.executable, "-m", "image_translation.train", *TINY_PIX2PIX, f"data.root={root}",
         "logger=[wandb,tensorboard]", "trainer.max_epochs=2", "trainer.log_every_n_steps=2", "hydra.run.dir=run",
         "seed=0"],
        cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    (folder / "output.txt").write_text(succeeded(result).stdout + result.stderr)
    return folder / "run"


def test_run_folder(finished_run: Path) -> None:
    expected = {
        ".hydra/config.yaml", "train.log", "run.json", "metrics.csv", "checkpoints/best.ckpt", "checkpoints/last.ckpt",
        "test/metrics.json", "test/per_image.csv", "test/identity.csv",
        *(f"test/{kind}/test{i}.png" for i in range(4) for kind in ("images", "inputs", "targets")),
        *(f"panels/epoch_{i:04}.png" for i in range(3)),
    }  # fmt: skip
    there = {str(path.relative_to(finished_run)) for path in finished_run.rglob("*") if path.is_file()}
    assert expected <= there
    # Beside the run folder nothing but what the test put there and the cache.
    assert {path.name for path in finished_run.parent.iterdir()} <= {"pairs", "run", "output.txt"}


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
    assert run["wandb_id"] == read_offline_run(finished_run).folder.name.rsplit("-", 1)[1]
    assert run["wall_time_s"] > run["cost"]["training_s"] > 0
    images = 2 * 6  # epochs and images in each
    assert run["cost"]["training_images_per_s"] == pytest.approx(images / run["cost"]["training_s"], rel=1e-2)
    assert run["cost"]["peak_memory_mib"] > 50
    assert run["cost"]["flops_per_image"] > 0


def test_metrics_csv_has_one_row_an_epoch(finished_run: Path) -> None:
    rows = read_csv(finished_run / "metrics.csv")
    assert [(row["epoch"], row["step"]) for row in rows] == [("1", "3"), ("2", "6")]
    names = {"train/l1", "train/gan", "train/discriminator", "train/score_real", "train/score_fake",
             "train/learning_rate", "train/accuracy", "train/loss_ratio", "train/gradient_generator",
             "train/gradient_discriminator", "val/mse", "val/psnr", "val/ssim"}  # fmt: skip
    assert names == set(rows[0]) - {"epoch", "step"}
    assert all(np.isfinite(float(value)) for row in rows for value in row.values())


def test_scores_are_those_of_the_saved_images(finished_run: Path) -> None:
    rows = read_csv(finished_run / "test" / "per_image.csv")
    assert [row["name"] for row in rows] == [f"test{i}" for i in range(4)]
    targets = finished_run.parent / "pairs" / "test" / "comics"
    for row in rows:
        x = np.asarray(Image.open(finished_run / "test" / "images" / f"{row['name']}.png"))
        y = np.asarray(Image.open(targets / f"{row['name']}.png"))
        assert float(row["mse"]) == pytest.approx(mean_squared_error(x, y), abs=1e-3)
        assert float(row["psnr"]) == pytest.approx(10 * np.log10(255**2 / mean_squared_error(x, y)), abs=1e-3)
        ssim = structural_similarity(y, x, channel_axis=-1, gaussian_weights=True, use_sample_covariance=False)
        assert float(row["ssim"]) == pytest.approx(ssim, abs=1e-3)
    means = read_json(finished_run / "test" / "metrics.json")
    for measure in ("mse", "psnr", "ssim"):
        assert means[f"test/{measure}"] == pytest.approx(np.mean([float(row[measure]) for row in rows]))
    errors = [mean_squared_error(np.asarray(image(i)), np.asarray(comic_of(image(i)))) for i in range(9, 13)]
    assert means["identity/mse"] == pytest.approx(np.mean(errors))
    identity = read_csv(finished_run / "test" / "identity.csv")
    assert [float(row["mse"]) for row in identity] == pytest.approx(errors)
    for kind, side in (("inputs", "face"), ("targets", "comics")):
        for row in rows:
            saved = np.asarray(Image.open(finished_run / "test" / kind / f"{row['name']}.png"))
            assert np.array_equal(saved, np.asarray(Image.open(targets.parent / side / f"{row['name']}.png")))


def test_output_ends_with_the_table_and_is_quiet(finished_run: Path) -> None:
    text = (finished_run.parent / "output.txt").read_text()
    means = read_json(finished_run / "test" / "metrics.json")
    table = [line for line in text.splitlines() if line.startswith(("│ pix2pix", "│ identity"))]
    for line, row in zip(table, ("test", "identity"), strict=True):
        for measure in ("mse", "psnr", "ssim"):
            assert f"{means[f'{row}/{measure}']:.3f}" in line
    assert text.rstrip().splitlines()[-1] == f"Images: {finished_run / 'panels'} and {finished_run / 'test' / 'images'}"
    for noise in ("Warning", "warn", "GPU available", "deprecat", "Trainer.fit", "Tip"):
        assert noise not in text


def test_panels_show_the_same_images_and_the_model_at_work(finished_run: Path) -> None:
    panels = [np.asarray(Image.open(finished_run / "panels" / f"epoch_{i:04}.png")) for i in range(3)]
    third = panels[0].shape[1] // 3
    for panel in panels[1:]:
        assert np.array_equal(panel[:, : 2 * third], panels[0][:, : 2 * third])
        assert not np.array_equal(panel[20:, 2 * third :], panels[0][20:, 2 * third :])
    left, top = 4, 18 + 4
    source = np.asarray(Image.open(finished_run.parent / "pairs" / "val" / "face" / "val0.png"))
    assert np.array_equal(panels[0][top : top + SIZE, left : left + SIZE], source)


def test_wandb_has_config_values_steps_and_images(finished_run: Path) -> None:
    run = read_offline_run(finished_run)
    assert (run.name, run.group, run.job_type, run.exit_code) == ("comic pix2pix 0", "comic", "pix2pix", 0)
    assert run.tags == ["comic", "pix2pix"]
    best = {name: metric.summary for name, metric in run.metrics.items() if name.startswith("val/")}
    assert best["val/psnr"].max
    assert best["val/ssim"].max
    assert best["val/mse"].min
    assert {metric.step_metric for name, metric in run.metrics.items() if name != "trainer/global_step"} == {
        "trainer/global_step"
    }
    assert run.config["model"]["lambda_l1"] == 100
    assert run.config["data"]["batch_size"] == 2
    assert run.config["seed"] == 0
    step = "trainer/global_step"
    csv_rows = read_csv(finished_run / "metrics.csv")
    val = [row for row in run.history if "val/mse" in row]
    assert [row[step] for row in val] == [3, 6]
    assert [row["val/mse"] for row in val] == pytest.approx([float(row["val/mse"]) for row in csv_rows], rel=1e-5)
    epochs = [row for row in run.history if "train/l1" in row]
    assert [(row[step], row["epoch"]) for row in epochs] == [(3, 1), (6, 2)]
    assert [row[step] for row in run.history if "train/l1_step" in row] == [2, 4, 6]
    (test,) = (row for row in run.history if "test/mse" in row)
    assert test["test/mse"] == pytest.approx(read_json(finished_run / "test" / "metrics.json")["test/mse"], rel=1e-5)
    shown = [(row[step], row["panel/filenames"]) for row in run.history if "panel/filenames" in row]
    assert [at for at, _ in shown] == [0, 3, 6]
    for epoch, (_, (name,)) in enumerate(shown):
        panel = Image.open(finished_run / "panels" / f"epoch_{epoch:04}.png")
        assert np.array_equal(np.asarray(Image.open(run.folder / "files" / name).convert("RGB")), np.asarray(panel))
    assert any("test/images/path" in row for row in run.history)
    table = read_json(run.artifacts["test/images.table.json"])
    assert all(finished_run.parent.resolve() in path.parents for path in run.artifacts.values())
    assert table["columns"] == ["name", "input", "target", "output", "mse", "psnr", "ssim"]
    scores = read_csv(finished_run / "test" / "per_image.csv")
    assert [(row[0], row[4]) for row in table["data"]] == [(s["name"], pytest.approx(float(s["mse"]))) for s in scores]
    output = Image.open(run.artifacts[table["data"][0][3]["path"]])
    assert np.array_equal(np.asarray(output), np.asarray(Image.open(finished_run / "test" / "images" / "test0.png")))


def test_every_split_and_identity_have_names_of_their_own(comic_root: Path, command: Command, tmp_path: Path) -> None:
    run = tmp_path / "run"
    succeeded(command("train", *TINY_AUTOENCODER, f"data.root={comic_root}", "logger=wandb", "protocol=report",
                      "evaluate=[test,train]", f"hydra.run.dir={run}"))  # fmt: skip
    summary = read_offline_run(run).summary
    of_test = read_json(run / "test" / "metrics.json")
    of_train = read_json(run / "evaluate" / "train" / "metrics.json")
    for measure in ("mse", "psnr", "ssim"):
        expected = {
            f"test/{measure}": of_test[f"test/{measure}"],
            f"report/{measure}": of_test[f"report/{measure}"],
            f"identity/{measure}": of_test[f"identity/{measure}"],
            f"identity/report/{measure}": of_test[f"identity/report/{measure}"],
            f"train/{measure}": of_train[f"train/{measure}"],
            f"train/report/{measure}": of_train[f"report/{measure}"],
            f"train/identity/{measure}": of_train[f"identity/{measure}"],
        }
        assert {name: summary[name] for name in expected} == pytest.approx(expected, rel=1e-5)


def test_tensorboard_has_the_same(finished_run: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(finished_run / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("val/mse")] == [3, 6]
    assert [event.step for event in events.Images("panel")] == [0, 3, 6]


def test_one_seed_gives_the_same_weights(finished_run: Path, command: Command, tmp_path: Path) -> None:
    options = [*TINY_PIX2PIX, f"data.root={finished_run.parent / 'pairs'}", "trainer.max_epochs=2"]
    succeeded(command("train", *options, "seed=0", f"hydra.run.dir={tmp_path / 'again'}"))
    succeeded(command("train", *options, "seed=1", f"hydra.run.dir={tmp_path / 'other'}"))
    first, again, other = (weights(run, "last") for run in (finished_run, tmp_path / "again", tmp_path / "other"))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_no_seed_draws_one_and_records_it(comic_root: Path, command: Command, tmp_path: Path) -> None:
    small = [option for option in TINY_AUTOENCODER if not option.startswith("model")]
    seeds = []
    for name in ("first", "second"):
        options = [f"data.root={comic_root}", "model=identity", "seed=null", f"hydra.run.dir={tmp_path / name}"]
        succeeded(command("train", *small, *options))
        seeds.append(read_json(tmp_path / name / "run.json")["seed"])
    assert seeds[0] != seeds[1]


def test_load_gives_the_saved_test_images(finished_run: Path) -> None:
    model = image_translation.load(finished_run)
    translated = model.predict(Image.open(finished_run.parent / "pairs" / "test" / "face" / "test1.png"))
    saved = Image.open(finished_run / "test" / "images" / "test1.png")
    assert np.abs(np.asarray(translated).astype(int) - np.asarray(saved)).max() <= 1


def test_evaluate_gets_the_same_numbers(finished_run: Path, command: Command, tmp_path: Path) -> None:
    before = read_json(finished_run / "test" / "metrics.json")
    succeeded(command("evaluate", f"run={finished_run}"))
    assert read_json(finished_run / "evaluate" / "test" / "metrics.json") == pytest.approx(before)
    result = succeeded(command("evaluate", f"run={finished_run}", "protocol=report", f"output={tmp_path / 'report'}"))
    report = read_json(tmp_path / "report" / "test" / "metrics.json")
    assert {name: report[name] for name in before} == pytest.approx(before)
    assert report["report/mse"] == pytest.approx(report["test/mse"])
    assert report["report/psnr"] == pytest.approx(10 * np.log10(255**2 / report["test/mse"]))
    assert "report" in result.stdout
    assert not list(tmp_path.joinpath("cwd").iterdir())
    assert read_json(finished_run / "test" / "metrics.json") == before


def test_evaluate_on_all_splits(finished_run: Path, command: Command, tmp_path: Path) -> None:
    result = succeeded(command("evaluate", f"run={finished_run}", "split=all", f"output={tmp_path / 'all'}"))
    for split, count in (("train", 6), ("val", 2), ("test", 4)):
        metrics = read_json(tmp_path / "all" / split / "metrics.json")
        assert metrics["images"] == count
        assert f"{metrics[f'{split}/psnr']:.3f}" in result.stdout
    last = read_csv(finished_run / "metrics.csv")
    best = max(float(row["val/psnr"]) for row in last)
    assert read_json(tmp_path / "all" / "val" / "metrics.json")["val/psnr"] == pytest.approx(best, rel=1e-4)
    again = command("evaluate", f"run={finished_run}", "split=all", f"output={tmp_path / 'all'}")
    assert again.returncode == 1
    assert "exists, and nothing is overwritten" in again.stderr


def test_evaluate_on_another_split_and_other_images(finished_run: Path, command: Command, tmp_path: Path) -> None:
    assert "shuffl" not in succeeded(command("evaluate", f"run={finished_run}", "split=train")).stderr
    names = [row["name"] for row in read_csv(finished_run / "evaluate" / "train" / "per_image.csv")]
    assert names == [f"train{i}" for i in range(6)]
    succeeded(command("evaluate", f"run={finished_run}", "split=val"))
    val = read_json(finished_run / "evaluate" / "val" / "metrics.json")
    best = max(read_csv(finished_run / "metrics.csv"), key=lambda row: float(row["val/psnr"]))
    assert val["val/psnr"] == pytest.approx(float(best["val/psnr"]), rel=1e-4)
    assert val["images"] == 2

    other = make_comic_root(tmp_path / "other", {"train": 1, "val": 1, "test": 2})
    refused = command("evaluate", f"run={finished_run}", f"data.root={other}")
    assert refused.returncode == 1
    assert "not the images of the run" in refused.stderr
    there = [f"run={finished_run}", f"data.root={other}", f"output={tmp_path / 'there'}"]
    succeeded(command("evaluate", *there))
    assert read_json(tmp_path / "there" / "test" / "metrics.json")["images"] == 2
    again = command("evaluate", *there)
    assert again.returncode == 1
    assert "exists, and nothing is overwritten" in again.stderr


def test_a_sweep_isolates_its_jobs(comic_root: Path, command: Command, tmp_path: Path) -> None:
    """The second of four jobs fails; the others are finished, each with its own folder, seed and W&B run."""
    sweep = tmp_path / "sweep"
    result = command(
        "train", "-m", *TINY_AUTOENCODER, "logger=wandb", f"data.root={comic_root}", "data.batch_size=2,100,2",
        "seed=3", f"hydra.sweep.dir={sweep}",
    )  # fmt: skip
    assert result.returncode == 1
    assert "data.batch_size=100 is more than the 6 training images" in result.stderr
    assert "Traceback" not in result.stderr
    runs = [read_json(sweep / f"{i}_comic_autoencoder" / "run.json") for i in range(3)]
    assert [run["status"] for run in runs] == ["finished", "failed", "finished"]
    assert "data.batch_size=100" in runs[1]["error"]
    assert len({run["wandb_id"] for run in (runs[0], runs[2])}) == 2
    first, last = (weights(sweep / f"{i}_comic_autoencoder") for i in (0, 2))
    assert all(torch.equal(first[name], last[name]) for name in first)
    table = result.stdout[result.stdout.rindex("PSNR") :]
    assert [line.split("│")[2].strip() for line in table.splitlines() if "_comic_" in line] == [
        "finished", "failed", "finished",
    ]  # fmt: skip


def test_a_logger_that_fails_does_not_taint_the_next_job(comic_root: Path, command: Command, tmp_path: Path) -> None:
    """The W&B run that was open already is closed as failed; the next job has its own."""
    sweep = tmp_path / "sweep"
    result = command(
        "train", "-m", *TINY_AUTOENCODER, "logger=wandb", f"data.root={comic_root}", f"hydra.sweep.dir={sweep}",
        "+logger.other._target_=no.Such,pytorch_lightning.loggers.CSVLogger", f"+logger.other.save_dir={tmp_path}",
        "hydra.sweep.subdir=deep/${hydra:job.num}",
    )  # fmt: skip
    assert result.returncode == 1
    runs = [read_offline_run(sweep / "deep" / job) for job in "01"]
    assert [run.exit_code for run in runs] == [1, 0]
    assert not runs[0].history
    assert runs[1].history
    table = result.stdout[result.stdout.rindex("PSNR") :]
    assert "failed" in table
    assert "finished" in table


def test_a_sweep_that_went_well_exits_with_0(comic_root: Path, command: Command, tmp_path: Path) -> None:
    small = [option for option in TINY_AUTOENCODER if not option.startswith("model")]
    result = succeeded(
        command(
            "train",
            "-m",
            *small,
            f"data.root={comic_root}",
            "model=identity",
            "seed=0,1",
            f"hydra.sweep.dir={tmp_path / 's'}",
        )
    )
    assert result.stdout.count("finished") == 2


@pytest.mark.parametrize("options", [["data.num_workers=0"], ["data.num_workers=2", "data.cache=none"]])
@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_keeps_the_last_checkpoint(
    sent: signal.Signals, status: int, options: list[str], comic_root: Path, tmp_path: Path
) -> None:
    """Sent to all its processes, as a terminal and a queue do."""
    run = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "image_translation.train", *TINY_AUTOENCODER, f"data.root={comic_root}", "logger=wandb",
         *options, "trainer.max_epochs=100000", "callbacks.panels.panel_every=100000", f"hydra.run.dir={run}"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(PROJECT)}, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not (run / "metrics.csv").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.killpg(process.pid, sent)
    try:
        _, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == status, errors
    assert "Traceback" not in errors
    assert read_json(run / "run.json")["status"] == "interrupted"
    last = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] > 0
    assert last["optimizer_states"]
    assert read_offline_run(run).exit_code == 1


def test_a_run_that_raises_is_marked_failed_everywhere(comic_root: Path, command: Command, tmp_path: Path) -> None:
    run = tmp_path / "run"
    result = command("train", *TINY_PIX2PIX, f"data.root={comic_root}", "logger=wandb", "model.lr_decay_epochs=5",
                     f"hydra.run.dir={run}")  # fmt: skip
    assert result.returncode == 1
    assert read_json(run / "run.json")["status"] == "failed"
    assert "lr_decay_epochs=5" in read_json(run / "run.json")["error"]
    assert read_offline_run(run).exit_code == 1


@pytest.mark.parametrize("options", [TINY_PIX2PIX, TINY_AUTOENCODER])
def test_two_processes_train_and_test_as_one(
    options: tuple[str, ...], comic_root: Path, command: Command, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    succeeded(
        command(
            "train", *options, f"data.root={comic_root}", "data.eval_batch_size=1", "trainer.devices=2",
            "trainer.accelerator=cpu", "trainer.strategy=ddp", f"hydra.run.dir={run}",
        )
    )  # fmt: skip
    assert read_json(run / "run.json")["device"]["count"] == 2
    assert read_json(run / "run.json")["steps"] == 2  # six images, two at a time on two devices: 2 + 1
    rows = read_csv(run / "test" / "per_image.csv")
    assert [row["name"] for row in rows] == [f"test{i}" for i in range(4)]
    before = read_json(run / "test" / "metrics.json")
    succeeded(command("evaluate", f"run={run}"))
    assert read_json(run / "evaluate" / "test" / "metrics.json") == pytest.approx(before)


def test_a_sweep_over_two_processes_each(comic_root: Path, command: Command, tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    succeeded(
        command(
            "train", "-m", *TINY_AUTOENCODER, f"data.root={comic_root}", "trainer.devices=2", "trainer.strategy=ddp",
            "seed=0,1", f"hydra.sweep.dir={sweep}",
        )
    )  # fmt: skip
    for job in range(2):
        run = sweep / f"{job}_comic_autoencoder"
        assert read_json(run / "run.json")["status"] == "finished"
        assert read_json(run / "run.json")["device"]["count"] == 2
        assert len(list((run / "test" / "images").iterdir())) == 4
    assert not list(tmp_path.joinpath("cwd").iterdir())


def test_a_logged_in_user_without_a_network_is_not_kept_waiting(
    comic_root: Path, command: Command, tmp_path: Path
) -> None:
    """A key is there, but nothing listens at the server's address: offline, and said so."""
    result = succeeded(
        command(
            "train", *TINY_AUTOENCODER, f"data.root={comic_root}", "logger=wandb", f"hydra.run.dir={tmp_path / 'run'}",
            WANDB_API_KEY="0" * 40, WANDB_BASE_URL="http://127.0.0.1:9",
        )
    )  # fmt: skip
    assert "127.0.0.1:9 does not answer" in result.stdout
    assert "wandb sync" in result.stdout
    assert read_offline_run(tmp_path / "run").exit_code == 0


def test_a_run_folder_is_not_used_twice(finished_run: Path, command: Command) -> None:
    def content() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in finished_run.rglob("*") if path.is_file() and path.suffix != ".log"}

    before = content()
    result = command("train", *TINY_AUTOENCODER, f"hydra.run.dir={finished_run}")
    assert result.returncode == 1
    assert "is not empty, and nothing is overwritten" in result.stderr
    assert content() == before


@pytest.mark.realdata
@pytest.mark.parametrize("task", ["comic", "monet", "coloring"])
def test_real_pairs_train(task: str, command: Command, tmp_path: Path) -> None:
    run = tmp_path / "run"
    succeeded(
        command("train", f"task={task}", *TINY_AUTOENCODER, f"data.root={REAL_DATA / task}",
                "trainer.limit_train_batches=4", f"hydra.run.dir={run}")
    )  # fmt: skip
    assert read_json(run / "run.json")["status"] == "finished"
    counts = {"comic": 10, "monet": 100, "coloring": 200}
    assert len(read_csv(run / "test" / "per_image.csv")) == counts[task]


@pytest.mark.gpu
def test_trains_on_the_gpu_by_default(comic_root: Path, command: Command, tmp_path: Path) -> None:
    options = [option for option in TINY_PIX2PIX if option != "trainer.accelerator=cpu"]
    succeeded(command("train", *options, f"data.root={comic_root}", f"hydra.run.dir={tmp_path / 'run'}"))
    assert read_json(tmp_path / "run" / "run.json")["device"]["type"] == "cuda"
