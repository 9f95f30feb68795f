"""Reads a W&B offline run's file: LevelDB log framing around W&B's own protobuf records."""

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

BLOCK, HEADER = 32768, 7


def records(path: Path) -> list[Record]:
    data = path.read_bytes()
    assert data[:4] == b":W&B"
    position, parts, found = HEADER, b"", []
    while position + HEADER <= len(data):
        if BLOCK - position % BLOCK < HEADER:  # padding at the end of a block
            position += BLOCK - position % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + HEADER])
        parts += data[position + HEADER : position + HEADER + length]
        position += HEADER + length
        if kind in (1, 4):  # a whole record, or its last part
            record = Record()
            record.ParseFromString(parts)
            found.append(record)
            parts = b""
    return found


@dataclass
class OfflineRun:
    folder: Path
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    exit_code: int | None = None
    artifacts: dict[str, Path] = field(default_factory=dict)  # the files of all artifacts by their paths
    group: str = ""
    job_type: str = ""


def read_offline_run(run_folder: Path) -> OfflineRun:
    """The one offline run below a run folder."""
    (path,) = run_folder.glob("wandb/offline-run-*/*.wandb")
    run = OfflineRun(path.parent)
    for record in records(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run.group, run.job_type = record.run.run_group, record.run.job_type
            updates = record.run.config.update
        elif kind == "config":
            updates = record.config.update
        elif kind == "history":
            row = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            run.history.append(row)
            continue
        elif kind == "artifact":
            run.artifacts |= {entry.path: Path(entry.local_path) for entry in record.artifact.manifest.contents}
            continue
        elif kind == "exit":
            run.exit_code = record.exit.exit_code
            continue
        else:
            continue
        run.config |= {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in updates}
    return run
