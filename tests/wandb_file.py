"""What W&B's offline runs hold."""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from image_translation.loggers.wandb_log import WandbFile


@dataclass
class OfflineRun:
    folder: Path
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None
    artifacts: dict[str, Path] = field(default_factory=dict)  # the files of all artifacts by their paths
    metrics: dict[str, Any] = field(default_factory=dict)  # what define_metric said, by name
    id: str = ""
    name: str = ""
    group: str = ""
    job_type: str = ""
    tags: list[str] = field(default_factory=list)


def read_offline_run(run_folder: Path) -> OfflineRun:
    """The one offline run below a run folder."""
    (run,) = read_offline_runs(run_folder)
    return run


def read_offline_runs(run_folder: Path) -> list[OfflineRun]:
    """The offline runs below a run folder, the earliest first."""
    return [_read(path) for path in sorted(run_folder.glob("wandb/offline-run-*/*.wandb"))]


def steps_logged(run_folder: Path) -> "Counter[tuple[str, int]]":
    """How often each name was logged at each step, in all offline runs below a run folder."""
    return Counter(
        (name, row["trainer/global_step"])
        for part in read_offline_runs(run_folder)
        for row in part.history
        for name in {"/".join(name.split("/")[:2]) for name in row if "/" in name} - {"trainer/global_step"}
    )


def _values(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def _read(path: Path) -> OfflineRun:
    run = OfflineRun(path.parent)
    for record in WandbFile(path).new_records():
        match record.WhichOneof("record_type"):
            case "run":
                run.id, run.name = record.run.run_id, record.run.display_name
                run.group, run.job_type = record.run.run_group, record.run.job_type
                run.tags = list(record.run.tags)
                run.config |= _values(record.run.config.update)
            case "config":
                run.config |= _values(record.config.update)
            case "history":
                run.history.append(_values(record.history.item))
            case "summary":
                run.summary |= _values(record.summary.update)
            case "metric":
                run.metrics[record.metric.name or record.metric.glob_name] = record.metric
            case "artifact":
                run.artifacts |= {entry.path: Path(entry.local_path) for entry in record.artifact.manifest.contents}
            case "exit":
                run.exit_code = record.exit.exit_code
    return run
