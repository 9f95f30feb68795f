"""Pairs as parquet files, tar archives and image folders, and a server that has them."""

import io
import json
import tarfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from conftest import comic_of, image
from PIL import Image

SHARDS = {"train": 4, "validation": 1, "test": 1}
EACH = 5  # pairs of a shard
COMMIT = "a" * 40


def png(sample: Image.Image) -> bytes:
    buffer = io.BytesIO()
    sample.save(buffer, "PNG")
    return buffer.getvalue()


def rows(shards: Mapping[str, int] = SHARDS) -> Iterator[tuple[str, int, list[tuple[str, bytes, bytes]]]]:
    """For each shard its split, its number, and its rows: name, face, comics."""
    seed = 0
    for split, count in shards.items():
        for number in range(count):
            sources = [image(seed := seed + 1) for _ in range(EACH)]
            yield split, number, [(f"{split}{number}_{i}", png(s), png(comic_of(s))) for i, s in enumerate(sources)]


def write_parquet(folder: Path, shards: Mapping[str, int] = SHARDS) -> Path:
    from datasets import Dataset, Features, Value
    from datasets import Image as ImageFeature

    folder.mkdir(parents=True)
    features = Features({"name": Value("string"), "face": ImageFeature(), "comics": ImageFeature()})
    for split, number, content in rows(shards):
        columns: dict[str, list[Any]] = {"name": [name for name, _, _ in content]}
        columns |= {
            half: [{"bytes": row[i], "path": None} for row in content] for i, half in ((1, "face"), (2, "comics"))
        }
        Dataset.from_dict(columns, features=features).to_parquet(folder / f"{split}-{number:05d}.parquet")
    return folder


def write_tars(folder: Path, shards: Mapping[str, int] = SHARDS) -> Path:
    folder.mkdir(parents=True)
    for split, number, content in rows(shards):
        with tarfile.open(folder / f"{split}-{number:05d}.tar", "w") as archive:
            for name, face, comics in content:
                for half, data in (("face", face), ("comics", comics)):
                    entry = tarfile.TarInfo(f"{name}.{half}.png")
                    entry.size = len(data)
                    archive.addfile(entry, io.BytesIO(data))
    return folder


def write_image_folder(folder: Path) -> Path:
    for split, _, content in rows():
        (folder / split).mkdir(parents=True, exist_ok=True)
        with (folder / split / "metadata.jsonl").open("a") as table:
            for name, face, comics in content:
                (folder / split / f"{name}_face.png").write_bytes(face)
                (folder / split / f"{name}.png").write_bytes(comics)
                line = {"face_file_name": f"{name}_face.png", "comics_file_name": f"{name}.png"}
                table.write(json.dumps(line) + "\n")
    return folder


class Handler(BaseHTTPRequestHandler):
    """Files, also parts of them, and what Hugging Face's hub answers about ``own/pairs``."""

    server: Any

    def do_GET(self) -> None:
        self.answer()

    def do_HEAD(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.answer()

    def answer(self) -> None:
        path = unquote(urlparse(self.path).path)
        files = {file.name: file for file in sorted(self.server.folder.iterdir())}
        name = path.rpartition("/")[2]
        if path.startswith("/api/datasets/own/pairs/tree/"):
            entries = [
                {"type": "file", "oid": "0", "size": f.stat().st_size, "path": name} for name, f in files.items()
            ]
            self.send(json.dumps(entries).encode())
        elif path.startswith("/api/datasets/own/pairs"):
            self.send(json.dumps({"id": "own/pairs", "sha": COMMIT, "siblings": [], "tags": []}).encode())
        elif name in files and path.startswith(("/datasets/own/pairs/resolve/", "/files/")):
            self.send(files[name].read_bytes())
        elif path.rstrip("/") == "/files":
            self.send("".join(f'<a href="{name}">{name}</a>' for name in files).encode())
        else:
            self.send(b"", 404)

    def send(self, content: bytes, status: int = 200) -> None:
        whole, bounds = len(content), self.headers.get("Range")
        first = 0
        if bounds and status == 200:
            first, _, last = bounds.removeprefix("bytes=").partition("-")  # type: ignore[assignment]
            content, status = content[int(first) : int(last or whole) + 1], 206
        self.send_response(status)
        headers = {
            "Content-Length": len(content),
            "Accept-Ranges": "bytes",
            "ETag": f'"{whole}"',
            "X-Repo-Commit": COMMIT,
        }
        if status == 206:
            headers["Content-Range"] = f"bytes {first}-{int(first) + len(content) - 1}/{whole}"
        if status == 404:
            headers["X-Error-Code"] = "EntryNotFound" if "own/pairs" in self.path else "RepoNotFound"
        for header, value in headers.items():
            self.send_header(header, str(value))
        self.end_headers()
        if self.command != "HEAD":
            breaks = self.server.breaks > 0 and len(content) > 2000
            self.server.breaks -= breaks
            self.wfile.write(content[:1000] if breaks else content)
            self.close_connection = breaks or self.close_connection

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving(folder: Path) -> Iterator[Any]:
    """A server of a folder's files; it breaks off in the middle of its next ``breaks`` large answers."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.folder, server.breaks = folder, 0  # type: ignore[attr-defined]
        server.url = f"http://127.0.0.1:{server.server_port}"  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()
