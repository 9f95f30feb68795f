"""What of a W&B run is on the disk: its file is a LevelDB log of W&B's own records."""

import struct
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.message import DecodeError
from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

MAGIC, HEADER, BLOCK = b":W&B", 7, 32768
WHOLE, LAST = 1, 4  # kinds of chunks that complete a record


class WandbFile:
    """A run's file, which may still be written.

    Args:
        path: the file, ``run-<id>.wandb``.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.position = path, HEADER
        self.parts = b""  # of a record that goes on in the next block

    def new_records(self) -> Iterator[Record]:
        """The records that were not read before, as far as they are complete.

        Raises:
            OSError: it can't be read.
            ValueError: it is of another kind than is known here.
        """
        with self.path.open("rb") as file:
            if (magic := file.read(len(MAGIC))) and magic != MAGIC:
                raise ValueError(f"{self.path} is no file of W&B's that is known here")
            file.seek(self.position)
            data, start = file.read(), self.position
        while True:
            at = self.position - start
            if BLOCK - self.position % BLOCK < HEADER:  # the rest of a block stays empty
                self.position += BLOCK - self.position % BLOCK
                continue
            if at + HEADER > len(data):
                return
            _, length, kind = struct.unpack("<IHB", data[at : at + HEADER])
            if at + HEADER + length > len(data):
                return
            self.parts += data[at + HEADER : at + HEADER + length]
            self.position += HEADER + length
            if kind in (WHOLE, LAST):
                whole, self.parts = self.parts, b""
                yield _record(whole)


def _record(content: bytes) -> Record:
    try:
        return Record.FromString(content)
    except DecodeError as error:
        raise ValueError("a record in it is of another kind than is known here") from error
