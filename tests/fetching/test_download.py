"""``download`` against a server on this machine."""

import hashlib
import io
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command, comic_of, image, succeeded
from PIL import Image
from scipy.io import savemat
from torchvision import datasets

from image_translation.cli.errors import UserError
from image_translation.download import download
from image_translation.fetching.datasets import fetch_archives, fetch_torchvision

Get = Callable[..., subprocess.CompletedProcess[str]]


class Handler(BaseHTTPRequestHandler):
    server: Any

    def do_GET(self) -> None:
        answer = self.server.answers[self.path]
        send(self, answer) if isinstance(answer, bytes) else answer(self)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Any]:
    """Its ``answers`` by path are contents or functions of the handler."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.answers, server.url = {}, f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def send(handler: Handler, content: bytes, keep: int | None = None) -> None:
    """Send the first ``keep`` bytes of what is announced."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content[:keep])


def aligned(seed: int) -> Image.Image:
    """A photo on the left, its comic on the right."""
    return Image.fromarray(np.hstack([image(seed), comic_of(image(seed))]))


def png(image: Image.Image) -> bytes:
    image.save(buffer := io.BytesIO(), "PNG")
    return buffer.getvalue()


def archive(files: dict[str, bytes]) -> bytes:
    """A tar.gz file; without content a symbolic link out of it."""
    with tarfile.open(fileobj=(buffer := io.BytesIO()), mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            if not content:
                info.type, info.linkname = tarfile.SYMTYPE, "../../.."
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def facades() -> bytes:
    """As the authors pack it: a folder with splits, and a file that macOS adds."""
    splits = {"train": range(6), "val": range(6, 8), "test": range(8, 11)}
    files = {f"facades/{split}/{i}.png": png(aligned(i)) for split, numbers in splits.items() for i in numbers}
    return archive({"._facades": b"junk"} | files)


@pytest.fixture
def get(server: Any, command: Command, tmp_path: Path) -> Get:
    """The command for facades with the archive at ``/it`` of the server."""

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        address = f"sets.facades.archives.all.url={server.url}/it"
        return command("download", "name=facades", address, "retries=0", f"output={tmp_path / 'place/data'}", *options)

    return run


def test_a_dataset_is_downloaded_and_trained_on(server: Any, get: Get, command: Command, tmp_path: Path) -> None:
    """The first try breaks off. Until all is there, nothing looks as if it were, as after a kill."""
    data, content, seen = tmp_path / "place" / "data", facades(), list[bool]()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        seen.append(data.exists())
        send(handler, content, keep=1000 if len(seen) == 1 else None)

    server.answers["/it"] = answer
    (tmp_path / "place" / ".data.killed" / "images").mkdir(parents=True)  # what another one has left
    result = succeeded(get("retries=1", f"sets.facades.archives.all.sha256={hashlib.sha256(content).hexdigest()}"))
    assert seen == [False, False]
    assert "data: 11 images." in result.stdout
    assert sorted(path.name for path in data.iterdir()) == [".downloaded", "test", "train", "val"]
    assert (data / "val" / "7.png").read_bytes() == png(aligned(7))
    assert {path.name for path in data.parent.iterdir()} == {".data.killed", "data"}
    # The commands that it prints.
    check, train = [line.split()[2:] for line in result.stdout.splitlines() if line.startswith("python -m")]
    assert check == ["image_translation.check", "task=facades", f"data.root={data}"]
    succeeded(command("check", *check[1:], f"output={tmp_path / 'report'}"))
    run = ["model=identity", "data.image_size=64", "logger=none", f"hydra.run.dir={tmp_path / 'run'}"]
    succeeded(command("train", *train[1:], *run))
    saved = np.asarray(Image.open(tmp_path / "run" / "test" / "images" / "9.png"))
    assert np.array_equal(saved, np.asarray(aligned(9))[:, 64:])  # the labels are on the right

    assert "is complete already" in succeeded(get()).stdout
    assert len(seen) == 2


ONE = {"facades/train/0.png": png(image(0))}
ANSWERS: dict[str, tuple[Any, str]] = {
    "breaks off": (lambda h: send(h, facades(), keep=1000), "Connection broken: IncompleteRead"),
    "404": (lambda h: h.send_error(404), "404 Client Error: Not Found"),
    "cut": (facades()[:1000], "end-of-stream marker was reached"),
    "a page": (b"<html>Moved</html>", "file could not be opened successfully"),
    "other content": (archive(ONE), "SHA256 hash of downloaded file"),
    "no image": (archive({"facades/read.me": b"moved"}), "the archive holds no images"),
    "parent": (archive(ONE | {"../smuggled.png": png(image(1))}), "outside the destination"),
    "link": (archive(ONE | {"facades/smuggled.png": b""}), "outside the destination"),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_a_failed_download_leaves_nothing(kind: str, server: Any, tmp_path: Path) -> None:
    server.answers["/it"], message = ANSWERS[kind]
    archives = {"all": {"url": f"{server.url}/it", "sha256": "0" * 64 if kind == "other content" else None}}
    with pytest.raises(UserError) as caught:
        download("facades", tmp_path / "place" / "data", partial(fetch_archives, archives, 0))
    assert str(caught.value).startswith(f"{server.url}/it: ")
    assert message in str(caught.value)
    assert not list(tmp_path.glob("place/*"))
    assert not list(tmp_path.rglob("smuggled*"))


def test_a_mistake_is_said_before_a_server_that_is_away(server: Any, get: Get, tmp_path: Path) -> None:
    server.shutdown()
    server.server_close()
    (tmp_path / "cwd" / "mine").mkdir()
    for option, message in {
        "name=facade": "Did you mean 'facades'?",
        "name=torchvision.Flowers103": "Did you mean 'Flowers102'?",
        "retries=abc": "retries must be a whole number, got 'abc'",
        "output=mine": "exists and is not facades. Choose another folder: output=",
        "retries=0": f"Error: {server.url}/it: ",
    }.items():
        result = get(option)
        assert result.returncode == 1
        assert message in result.stderr
        assert ("Connection refused" in result.stderr) == (option == "retries=0")
        assert "Traceback" not in result.stderr
    assert [path.name for path in (tmp_path / "cwd").iterdir()] == ["mine"]
    assert not list(tmp_path.glob("place/*"))


def test_two_archives_become_two_folders(server: Any, command: Command, tmp_path: Path) -> None:
    data, options = tmp_path / "place" / "data", ["name=face2comics2"]
    for name in ("face", "comics"):
        files = {f"some/{name}s/{i}.png": png(image(i)) for i in range(3)} | {"some/read.me": b"moved"}
        server.answers[f"/{name}.tar"] = archive(files)
        options.append(f"sets.face2comics2.archives.{name}.url={server.url}/{name}.tar")
    succeeded(command("download", *options, f"output={data}"))
    images = [f"{side}/{i}.png" for side in ("comics", "face") for i in range(3)]
    assert sorted(str(path.relative_to(data)) for path in data.rglob("*.*")) == [".downloaded", *images]


def test_photos_of_torchvision(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a tiny Flowers102 on the server, in the form of the real one."""
    labels, splits = io.BytesIO(), io.BytesIO()
    savemat(labels, {"labels": np.ones((1, 8), np.uint8)})
    savemat(splits, {"trnid": [[1, 2, 3, 4]], "valid": [[5, 6]], "tstid": [[7, 8]]})
    photos = {f"jpg/image_{i:05}.jpg": png(image(i, (20, 30))) for i in range(1, 9)}
    digests = {}
    for kind, name, content in (("image", "102flowers.tgz", archive(photos)),
                                ("label", "imagelabels.mat", labels.getvalue()),
                                ("setid", "setid.mat", splits.getvalue())):  # fmt: skip
        server.answers[f"/{name}"], digests[kind] = content, (name, hashlib.md5(content).hexdigest())
    monkeypatch.setattr(datasets.Flowers102, "_download_url_prefix", f"{server.url}/")
    monkeypatch.setattr(datasets.Flowers102, "_file_dict", digests)

    data, fill = tmp_path / "place" / "data", partial(fetch_torchvision, "Flowers102")
    download("torchvision.Flowers102", data, fill)
    assert [len(list((data / split).iterdir())) for split in ("train", "val", "test")] == [4, 2, 2]
    assert (data / "val" / "000000.jpg").read_bytes() == png(image(5, (20, 30)))  # the file itself
    server.answers["/setid.mat"] = b"damaged"
    with pytest.raises(UserError, match=r"^torchvision\.Flowers102: .*corrupted"):
        download("torchvision.Flowers102", tmp_path / "place" / "again", fill)
    assert [path.name for path in data.parent.iterdir()] == ["data"]


def test_images_that_torchvision_has_not_as_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class WithoutSplits(datasets.FakeData):
        def __init__(self, root: str, download: bool) -> None:
            super().__init__(size=3, image_size=(3, 20, 30))

    expected = [np.asarray(photo) for photo, _ in datasets.FakeData(size=3, image_size=(3, 20, 30))]
    monkeypatch.setattr(datasets, "FakeData", WithoutSplits)
    fetch_torchvision("FakeData", tmp_path)
    saved = [np.asarray(Image.open(path)) for path in sorted(tmp_path.iterdir())]
    assert np.array_equal(saved, expected)
