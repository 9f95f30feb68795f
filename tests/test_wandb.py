"""W&B for comparing runs, as far as that can be seen without its server."""

import json
from pathlib import Path

import pytest
import yaml
from conftest import PROJECT, TINY_PIX2PIX, Command, succeeded
from fake_runs import make_run
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args
from wandb_file import read_offline_run


def agents_command_line(sweep: dict[str, object], values: dict[str, object]) -> list[str]:
    """The command that W&B's agent runs for these parameters, by its own functions."""
    parts = create_sweep_command_args({"args": {name: {"value": value} for name, value in values.items()}})
    parts["env"] = ["/usr/bin/env"]
    line: list[str] = []
    for chunk in create_sweep_command(list(sweep["command"])):  # type: ignore[call-overload]
        line += parts[chunk[2:-1]] if chunk.startswith("${") else [chunk]
    return line


def test_a_sweeps_agent_runs_the_command_line(comic_root: Path, command: Command, tmp_path: Path) -> None:
    sweep = yaml.safe_load((PROJECT / "docs" / "sweep.yaml").read_text())
    values = {name: choice["values"][-1] if "values" in choice else choice["min"]
              for name, choice in sweep["parameters"].items()}  # fmt: skip
    line = agents_command_line(sweep, values)
    assert line[:4] == ["/usr/bin/env", "python", "-m", "image_translation.train"]
    assert {
        "task=comic",
        "model=pix2pix",
        "model.gan_loss=hinge",
        "model.lambda_l1=100.0",
        "model.learning_rate=0.0001",
    } < set(line)

    # What the agent sets besides: the run's id, and a file with the parameters.
    parameters = tmp_path / "config.yaml"
    parameters.write_text(yaml.safe_dump({"wandb_version": 1} | {name: {"value": v} for name, v in values.items()}))
    run = tmp_path / "run"
    tiny = [option for option in TINY_PIX2PIX if not option.startswith(("logger", "model="))]
    succeeded(command("train", *line[4:], *tiny, f"data.root={comic_root}", f"hydra.run.dir={run}",
                      WANDB_SWEEP_ID="abc123", WANDB_RUN_ID="run45678", WANDB_SWEEP_PARAM_PATH=str(parameters),
                      WANDB_MODE="offline"))  # fmt: skip
    logged = read_offline_run(run)
    assert logged.id == "run45678"
    assert logged.config["model"]["gan_loss"] == logged.config["model.gan_loss"] == "hinge"
    assert logged.config["model"]["base_channels"] == 4
    (best,) = {row["best/val/psnr"] for row in logged.history if "best/val/psnr" in row}
    assert best == pytest.approx(logged.summary["val/psnr"]["max"])
    assert sweep["metric"] == {"name": "best/val/psnr", "goal": "maximize"}
    assert sweep["method"] in ("grid", "random", "bayes")


def test_compare_logs_the_page_the_table_and_an_artifact(tmp_path: Path, command: Command) -> None:
    for seed in range(2):
        make_run(tmp_path / "runs" / str(seed), seed=seed)
    out = tmp_path / "out"
    succeeded(command("compare", f"runs=[{tmp_path / 'runs'}]", f"output={out}", "wandb=true"))
    run = read_offline_run(out)
    assert (run.name, run.job_type, run.exit_code) == ("comparison", "compare", 0)
    assert {"report.html", "table.csv", "table.tex", "table.md", "per_image.csv"} < set(run.artifacts)
    row = next(row for row in run.history if "comparison/report/path" in row or "comparison/report" in row)
    assert any(key.startswith("comparison/table") for key in row)
    table = json.loads(next(path for name, path in run.artifacts.items() if name.endswith(".table.json")).read_text())
    assert table["columns"][:3] == ["task", "model", "split"]
    means = [
        json.loads((tmp_path / "runs" / str(s) / "test" / "metrics.json").read_text())["test/psnr"] for s in (0, 1)
    ]
    assert run.summary["comic/pix2pix/psnr"] == pytest.approx(sum(means) / 2)
