"""What W&B's offline runs hold: its file is a LevelDB log of W&B's records."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

MAGIC, HEADER, BLOCK = b":W&B", 7, 32768
ENDS = (1, 4)  # kinds of chunks that complete a record


class OfflineRun:
    """The content of a .wandb file; ``about`` is W&B's record of the run: its group, its tags …"""

    def __init__(self, file: Path) -> None:
        self.folder, self.exit_code, self.history = file.parent, None, list[dict[str, Any]]()
        self.config, self.summary = dict[str, Any](), dict[str, Any]()
        self.artifacts = dict[str, Path]()  # the files of all artifacts by their paths
        self.metrics = dict[str, Any]()  # what define_metric said, by name
        for record in _records(file):
            match record.WhichOneof("record_type"):
                case "run":
                    self.about, self.id = record.run, record.run.run_id
                    self.config |= _values(record.run.config.update)
                case "config":
                    self.config |= _values(record.config.update)
                case "history":
                    self.history.append(_values(record.history.item))
                case "summary":
                    self.summary |= _values(record.summary.update)
                case "metric":
                    self.metrics[record.metric.name or record.metric.glob_name] = record.metric
                case "artifact":
                    files = record.artifact.manifest.contents
                    self.artifacts |= {entry.path: Path(entry.local_path) for entry in files}
                case "exit":
                    self.exit_code = record.exit.exit_code


def read_offline_run(run_folder: Path) -> OfflineRun:
    """The one offline run below a run folder."""
    (run,) = read_offline_runs(run_folder)
    return run


def read_offline_runs(run_folder: Path) -> list[OfflineRun]:
    """The offline runs below a run folder, the earliest first."""
    return [OfflineRun(path) for path in sorted(run_folder.glob("wandb/offline-run-*/*.wandb"))]


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
