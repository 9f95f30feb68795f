"""What W&B's offline runs hold: its file is a LevelDB log of W&B's records."""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

MAGIC, HEADER, BLOCK = b":W&B", 7, 32768
ENDS = (1, 4)  # kinds of chunks that complete a record


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


def _records(path: Path) -> Iterator[Any]:
    data, at, parts = path.read_bytes(), HEADER, b""
    assert data.startswith(MAGIC)
    while at + HEADER <= len(data):
        if BLOCK - at % BLOCK < HEADER:  # the rest of a block stays empty
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + HEADER])
        parts += data[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in ENDS and at <= len(data):
            yield Record.FromString(parts)
            parts = b""


def _values(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def _read(path: Path) -> OfflineRun:
    run = OfflineRun(path.parent)
    for record in _records(path):
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
