"""What W&B gets, as far as that can be seen without its server."""

import signal
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import PROJECT, TINY_AUTOENCODER, TINY_PIX2PIX, Command, read_csv, read_json, succeeded
from helpers.fake_runs import make_run
from helpers.processes import start, wait_for
from helpers.wandb_runs import read_offline_run, read_offline_runs
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

STEP = "trainer/global_step"


def test_config_metrics_and_images(finished_run: Path) -> None:
    run = read_offline_run(finished_run)
    about = run.about
    assert (about.display_name, about.run_group, about.job_type) == ("comic pix2pix 0", "comic", "pix2pix")
    assert (list(about.tags), run.exit_code) == (["comic", "pix2pix"], 0)
    assert (run.config["model"]["lambda_l1"], run.config["data"]["batch_size"], run.config["seed"]) == (100, 2, 0)
    best = {name: metric.summary for name, metric in run.metrics.items() if name.startswith("val/")}
    assert all((best["val/psnr"].max, best["val/ssim"].max, best["val/mse"].min))
    assert {metric.step_metric for name, metric in run.metrics.items() if name != STEP} == {STEP}

    rows = read_csv(finished_run / "metrics.csv")
    for name in ("val/mse", "train/l1"):
        logged = [row for row in run.history if name in row]
        assert [(row[STEP], row["epoch"]) for row in logged] == [(3, 1), (6, 2)]
        assert [row[name] for row in logged] == pytest.approx([float(row[name]) for row in rows], rel=1e-5)
    assert [row[STEP] for row in run.history if "train/l1_step" in row] == [2, 4, 6]
    shown = [(row[STEP], row["panel/filenames"]) for row in run.history if "panel/filenames" in row]
    assert [at for at, _ in shown] == [0, 3, 6]
    for epoch, (_, (name,)) in enumerate(shown):
        panel = Image.open(finished_run / "panels" / f"epoch_{epoch:04}.png")
        assert np.array_equal(Image.open(run.folder / "files" / name).convert("RGB"), panel)

    assert any("test/images/path" in row for row in run.history)
    assert all(finished_run.parent.resolve() in path.parents for path in run.artifacts.values())
    table = read_json(run.artifacts["test/images.table.json"])
    assert table["columns"] == ["name", "input", "target", "output", "mse", "psnr", "ssim"]
    scores = read_csv(finished_run / "test" / "per_image.csv")
    assert [(row[0], row[4]) for row in table["data"]] == [(s["name"], pytest.approx(float(s["mse"]))) for s in scores]
    output = Image.open(run.artifacts[table["data"][0][3]["path"]])
    assert np.array_equal(output, Image.open(finished_run / "test" / "images" / "test0.png"))

    events = EventAccumulator(str(finished_run / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("val/mse")] == [3, 6]
    assert [event.step for event in events.Images("panel")] == [0, 3, 6]


def test_without_a_network_everything_is_logged_offline(comic_root: Path, command: Command, tmp_path: Path) -> None:
    """A key is there, but no server answers: the user is told so. Every split and identity have their own names."""
    run = tmp_path / "run"
    options = [*TINY_AUTOENCODER, f"data.root={comic_root}", "logger=wandb", "protocol=report", "evaluate=[test,train]"]
    result = succeeded(command("train", *options, "callbacks.test_results.pairs=false", f"hydra.run.dir={run}",
                               WANDB_API_KEY="0" * 40, WANDB_BASE_URL="http://127.0.0.1:9"))  # fmt: skip
    assert "this run is logged offline" in result.stdout
    assert "wandb sync" in result.stdout
    assert read_offline_run(run).exit_code == 0
    summary = read_offline_run(run).summary
    of_test, of_train = (read_json(run / place / "metrics.json") for place in ("test", "evaluate/train"))
    prefixed = {f"train/{name.removeprefix('train/')}": value for name, value in of_train.items()}
    expected = {name: value for name, value in (of_test | prefixed).items() if not name.endswith("images")}
    assert expected.keys() > {"test/mse", "report/psnr", "identity/report/ssim", "train/mse", "train/identity/psnr"}
    assert {name: summary[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    for place in ("test", "evaluate/train"):  # the inputs and targets were not asked for
        assert [path.name for path in (run / place).iterdir() if path.is_dir()] == ["images"]


def points(folder: Path) -> dict[tuple[str, int], set[float]]:
    """The values of each name at each step, in all parts of a run."""
    found = defaultdict(set)
    for row in (row for part in read_offline_runs(folder) for row in part.history):
        for name, value in row.items():
            if isinstance(value, float) and not name.startswith("_"):
                found[name, row[STEP]].add(value)
    return found


@pytest.mark.parametrize("sent", [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)])
def test_a_resumed_run_is_continued(sent: signal.Signals, comic_root: Path, command: Command, tmp_path: Path) -> None:
    """By its id; no point is missing, and one that is there again has the value that it had.

    Lightning logs an epoch's means after the checkpoint is written: a kill in between costs their points.
    """
    whole, run = tmp_path / "whole", tmp_path / "run"
    options = [*TINY_AUTOENCODER, f"data.root={comic_root}", "logger=wandb", "trainer.log_every_n_steps=1",
               "checkpoint.every_n_epochs=2"]  # fmt: skip
    process, lost = start(run, *options, "trainer.max_epochs=1000"), set()
    assert wait_for(process, (run / "checkpoints" / "last.ckpt").exists)
    if sent == signal.SIGKILL:  # what W&B, a process of its own, has not written yet would be lost
        process.send_signal(signal.SIGSTOP)
        saved = 3 * torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["epoch"]
        assert wait_for(process, lambda: ("val/psnr", saved) in points(run))
        lost = {(f"train/{name}", saved) for name in ("loss", "l1", "learning_rate", "gradient_generator")}
    process.send_signal(sent)
    process.wait(60)
    known, trained = read_json(run / "run.json")["wandb_id"], len(read_csv(run / "metrics.csv"))
    limit = f"trainer.max_epochs={trained + 3}"
    succeeded(command("train", f"resume={run}", limit))
    succeeded(command("train", *options, limit, f"hydra.run.dir={whole}"))
    parts = read_offline_runs(run)
    assert [part.folder.name.rpartition("-")[2] for part in parts] == [known, known]
    assert parts[1].id == known
    assert {**points(run), **dict.fromkeys(lost)} == {**points(whole), **dict.fromkeys(lost)}
    succeeded(command("train", f"resume={run}", f"trainer.max_epochs={trained + 4}", "logger=none"))
    assert read_json(run / "run.json")["wandb_id"] == known


def test_a_job_that_fails_does_not_taint_the_next_one(comic_root: Path, command: Command, tmp_path: Path) -> None:
    """Its W&B run is closed as failed; the next job has its own."""
    sweep = tmp_path / "sweep"
    (tmp_path / "cwd" / "own.py").write_text(
        "import pytorch_lightning as pl\n\nclass Bad(pl.Callback):\n    def on_train_epoch_end(self, *_):\n"
        "        raise ValueError('bad')\n"
    )
    result = command(
        "train", "-m", *TINY_AUTOENCODER, "logger=wandb", f"data.root={comic_root}", f"hydra.sweep.dir={sweep}",
        "+callbacks.other._target_=own.Bad,pytorch_lightning.callbacks.LambdaCallback",
        "hydra.sweep.subdir=deep/${hydra:job.num}",
    )  # fmt: skip
    assert result.returncode == 1
    runs = [read_offline_run(sweep / "deep" / job) for job in "01"]
    assert [(run.exit_code, bool(run.history)) for run in runs] == [(1, True), (0, True)]
    table = result.stdout[result.stdout.rindex("status") :]
    assert "failed" in table
    assert "finished" in table


def test_a_sweeps_agent_runs_the_command_line(comic_root: Path, command: Command, tmp_path: Path) -> None:
    sweep = yaml.safe_load((PROJECT / "docs" / "sweep.yaml").read_text())
    values = {name: choice.get("values", [choice.get("min")])[-1] for name, choice in sweep["parameters"].items()}
    assert sweep["command"][:4] == ["${env}", "python", "-m", "image_translation.train"]
    assert sweep["command"][-1] == "${args_no_hyphens}"
    line = sweep["command"][4:-1] + [f"{name}={value}" for name, value in values.items()]
    options = {"model.gan_loss=hinge", "model.lambda_l1=100.0", "model.optimizer.lr=0.0001"}
    assert {"task=comic", "model=pix2pix"} | options < set(line)

    # What the agent sets besides: the run's id, and a file with the parameters.
    parameters = tmp_path / "config.yaml"
    parameters.write_text(yaml.safe_dump({"wandb_version": 1} | {name: {"value": v} for name, v in values.items()}))
    run = tmp_path / "run"
    tiny = [option for option in TINY_PIX2PIX if not option.startswith(("logger", "model="))]
    succeeded(command("train", *line, *tiny, "trainer.max_epochs=3", f"data.root={comic_root}",
                      f"hydra.run.dir={run}", WANDB_SWEEP_ID="abc123", WANDB_RUN_ID="run45678",
                      WANDB_SWEEP_PARAM_PATH=str(parameters), WANDB_MODE="offline"))  # fmt: skip
    logged = read_offline_run(run)
    assert logged.id == "run45678"
    assert logged.config["model"]["gan_loss"] == logged.config["model.gan_loss"] == "hinge"
    assert logged.config["model"]["optimizer"]["lr"] == 1e-4
    (best,) = {row[sweep["metric"]["name"]] for row in logged.history if sweep["metric"]["name"] in row}
    scores = [float(row["val/psnr"]) for row in read_csv(run / "metrics.csv")]
    assert best == pytest.approx({"maximize": max, "minimize": min}[sweep["metric"]["goal"]](scores), rel=1e-5)


def test_compare_logs_the_page_the_table_and_an_artifact(tmp_path: Path, command: Command) -> None:
    runs, out = [make_run(tmp_path / "runs" / str(seed), seed=seed) for seed in (0, 1)], tmp_path / "out"
    succeeded(command("compare", f"runs=[{tmp_path / 'runs'}]", f"output={out}", "wandb=true"))
    run = read_offline_run(out)
    assert (run.about.display_name, run.about.job_type, run.exit_code) == ("comparison", "compare", 0)
    assert {"report.html", "table.csv", "table.tex", "table.md", "per_image.csv"} < set(run.artifacts)
    row = next(row for row in run.history if "comparison/report/path" in row or "comparison/report" in row)
    assert any(key.startswith("comparison/table") for key in row)
    table = read_json(next(path for name, path in run.artifacts.items() if name.endswith(".table.json")))
    assert table["columns"][:3] == ["task", "model", "split"]
    means = [read_json(folder / "test" / "metrics.json")["test/psnr"] for folder in runs]
    assert run.summary["comic/pix2pix/psnr"] == pytest.approx(sum(means) / 2)
