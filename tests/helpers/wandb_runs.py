"""What W&B's offline runs hold: its file is a LevelDB log of W&B's records."""

import json
import struct
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

MAGIC, HEADER, BLOCK = b":W&B", 7, 32768
ENDS = (1, 4)  # kinds of chunks that complete a record


class OfflineRun:
    """The content of a .wandb file; ``about`` is W&B's record of the run: its group, its tags …"""

    def __init__(self, file: Path) -> None:
        records = defaultdict[str, list[Any]](list)
        for record in _records(file):
            kind = record.WhichOneof("record_type")
            records[kind].append(getattr(record, kind))
        self.folder, self.about = file.parent, next(reversed(records["run"]), None)
        self.id = self.about and self.about.run_id
        configs = [*(run.config for run in records["run"]), *records["config"]]
        self.config = _values(item for config in configs for item in config.update)
        self.history = [_values(row.item) for row in records["history"]]
        self.summary = _values(item for summary in records["summary"] for item in summary.update)
        self.metrics = {metric.name or metric.glob_name: metric for metric in records["metric"]}  # of define_metric
        files = [entry for artifact in records["artifact"] for entry in artifact.manifest.contents]
        self.artifacts = {entry.path: Path(entry.local_path) for entry in files}
        self.exit_code = next((end.exit_code for end in records["exit"]), None)


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
