"""`download` against a server on this machine that does what servers and strangers do."""

import gzip
import hashlib
import io
import json
import lzma
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from conftest import PROJECT, Command, comic_of, image, succeeded
from PIL import Image
from scipy.io import savemat
from torchvision import datasets

from image_translation.cli.errors import UserError
from image_translation.download import download
from image_translation.fetching.photos import export

Response = Callable[[BaseHTTPRequestHandler], None]


class Server:
    """``answers`` by path; counts the requests."""

    def __init__(self) -> None:
        self.answers: dict[str, Response] = {}
        self.requests: Counter[str] = Counter()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.requests[self.path] += 1
                server.answers[self.path](self)

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.http.server_port}{path}"


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.http.shutdown()


def send(
    handler: BaseHTTPRequestHandler, content: bytes, length: int | str | None = None, keep: int | None = None
) -> None:
    """Content with a length that may be a lie, of which ``keep`` bytes are really sent."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content) if length is None else length))
    handler.end_headers()
    handler.wfile.write(content[:keep])


def fail(handler: BaseHTTPRequestHandler, status: int) -> None:
    handler.send_error(status)


def redirect(handler: BaseHTTPRequestHandler, to: str) -> None:
    handler.send_response(302)
    handler.send_header("Location", to)
    handler.end_headers()


def png(seed: int, size: tuple[int, int] = (64, 64)) -> bytes:
    buffer = io.BytesIO()
    image(seed, size).save(buffer, "PNG")
    return buffer.getvalue()


def aligned(seed: int) -> Image.Image:
    """A photo on the left, and something made of it on the right."""
    both = Image.new("RGB", (128, 64))
    both.paste(image(seed), (0, 0))
    both.paste(comic_of(image(seed)), (64, 0))
    return both


def aligned_png(seed: int) -> bytes:
    buffer = io.BytesIO()
    aligned(seed).save(buffer, "PNG")
    return buffer.getvalue()


def archive(files: dict[str, bytes], *more: tarfile.TarInfo, kind: Literal["w", "w:gz"] = "w:gz") -> bytes:
    """A tar.gz file, or a plain tar file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=kind) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for info in more:
            tar.addfile(info)
    return buffer.getvalue()


def facades(kind: Literal["w", "w:gz"] = "w:gz") -> bytes:
    """As the authors pack it: a folder with splits, and what macOS adds."""
    splits = {"train": range(6), "val": range(6, 8), "test": range(8, 11)}
    files = {f"facades/{split}/{i}.png": aligned_png(i) for split, numbers in splits.items() for i in numbers}
    return archive({"._facades": b"junk"} | files, kind=kind)


def changed(content: bytes, place: int) -> bytes:
    """With one bit of a byte the other way round."""
    return content[:place] + bytes([content[place] ^ 1]) + content[place:][1:]


@pytest.fixture
def get(server: Server, command: Command, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The command for facades with the archive at a path of the server."""

    def run(path: str, *options: str) -> subprocess.CompletedProcess[str]:
        address = f"sets.facades.archives.all.url={server.url(path)}"
        return command(
            "download", "name=facades", address, "retries=1", f"output={tmp_path / 'place' / 'data'}", *options
        )

    return run


def left(tmp_path: Path) -> list[str]:
    """What lies where the set should be."""
    return sorted(path.name for path in (tmp_path / "place").iterdir()) if (tmp_path / "place").exists() else []


def test_a_set_is_fetched_checked_and_trained_on(
    server: Server, get: Callable[..., Any], command: Command, tmp_path: Path
) -> None:
    content = facades()
    server.answers["/facades.tar.gz"] = partial(send, content=content)
    server.answers["/old"] = partial(redirect, to="/facades.tar.gz")
    result = succeeded(get("/old"))
    assert "data: 11 files." in result.stdout
    assert sorted(path.name for path in (tmp_path / "place" / "data").iterdir()) == [
        ".download.json",
        "test",
        "train",
        "val",
    ]
    data = tmp_path / "place" / "data"
    assert (data / "val" / "7.png").read_bytes() == aligned_png(7)
    assert left(tmp_path) == ["data"]
    # The commands that it prints.
    check, train = [line.split()[2:] for line in result.stdout.splitlines() if line.startswith("python -m")]
    assert check == ["image_translation.check", "task=facades", f"data.root={tmp_path / 'place' / 'data'}"]
    assert "Nothing wrong with 11 pairs" in succeeded(command("check", *check[1:], f"output={tmp_path / 'r'}")).stdout
    run = ["model=identity", "data.image_size=64", "logger=none", f"hydra.run.dir={tmp_path / 'run'}"]
    succeeded(command("train", *train[1:], *run))
    saved = np.asarray(Image.open(tmp_path / "run" / "test" / "images" / "9.png"))
    assert np.array_equal(saved, np.asarray(aligned(9))[:, 64:])  # the labels are on the right

    again = succeeded(get("/old"))
    assert "is there already" in again.stdout
    assert server.requests["/facades.tar.gz"] == 1


def test_a_download_that_breaks_off_is_tried_again(server: Server, get: Callable[..., Any]) -> None:
    content = facades()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        send(handler, content, keep=len(content) // 2 if server.requests["/it"] == 1 else None)

    server.answers["/it"] = answer
    assert "11 files" in succeeded(get("/it")).stdout
    assert server.requests["/it"] == 2


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda h: send(h, facades(), keep=1000), "cannot be fetched (the connection broke off). Try again."),
        (lambda h: send(h, facades(), length=10**6), "cannot be fetched (the connection broke off). Try again."),
        (lambda _: None, "cannot be fetched (Remote end closed connection without response). Try again."),
        (lambda h: send(h, facades(), length="abc"), "cannot be fetched: the server's headers are damaged"),
        (lambda h: send(h, facades(), length=1000), "not a whole tar archive"),
        (lambda h: send(h, gzip.compress(b"no archive")), "not a whole tar archive"),
        (lambda h: send(h, changed(lzma.compress(facades("w")), 20_000)), "not a whole tar archive"),
        (lambda h: send(h, b"<html>Moved</html>"), "not a whole tar archive"),
        (lambda h: send(h, archive({"a": b"", "a/1.png": png(1)})), "'1.png' in it cannot be unpacked (Not a direct"),
        (lambda h: fail(h, 404), "the server answers 404 Not Found"),
        (lambda h: fail(h, 500), "the server answers 500 Internal Server Error"),
        (lambda h: redirect(h, "/it"), "cannot be fetched"),
    ],
    ids=[
        "breaks off",
        "promises too much",
        "is silent",
        "no length",
        "promises too little",
        "no archive",
        "damaged xz",
        "a page",
        "a file as a folder",
        "404",
        "500",
        "a circle",
    ],
)
def test_a_server_that_fails_leaves_nothing(
    answer: Response, message: str, server: Server, get: Callable[..., Any], tmp_path: Path
) -> None:
    server.answers["/it"] = answer
    result = get("/it")
    assert result.returncode == 1
    assert message in result.stderr
    assert server.url("/it") in result.stderr
    assert "Traceback" not in result.stderr
    assert ".part" not in result.stderr  # the folder that is gone
    assert left(tmp_path) == []


def test_a_server_that_is_away(get: Callable[..., Any], server: Server, tmp_path: Path) -> None:
    server.http.server_close()
    result = get("/it")
    assert result.returncode == 1
    assert "cannot be fetched" in result.stderr
    assert left(tmp_path) == []


def link(name: str, to: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    return info


def device() -> tarfile.TarInfo:
    info = tarfile.TarInfo("facades/null")
    info.type, info.devmajor, info.devminor = tarfile.CHRTYPE, 1, 3
    return info


@pytest.mark.parametrize(
    "content",
    [
        archive({"facades/train/0.png": png(0), "../smuggled.png": png(1)}),
        archive({"facades/../../../smuggled.png": png(1)}),
        archive({}, link("facades/smuggled", "/etc")),
        archive({}, link("facades/smuggled", "../../..")),
        archive({}, link("facades/smuggled", "../../../outside.txt", tarfile.LNKTYPE)),
        archive({}, device()),
    ],
    ids=["parent", "deep parent", "absolute link", "relative link", "hard link", "device"],
)
def test_a_malicious_archive_is_refused(
    content: bytes, server: Server, get: Callable[..., Any], tmp_path: Path
) -> None:
    server.answers["/it"] = partial(send, content=content)
    result = get("/it")
    assert result.returncode == 1
    assert "refused, because it holds what no data set needs" in result.stderr
    assert left(tmp_path) == []
    assert not list(tmp_path.parent.rglob("smuggled*"))


def test_an_absolute_path_stays_inside(server: Server, get: Callable[..., Any], tmp_path: Path) -> None:
    """The filter takes the slash away."""
    outside = tmp_path.parent / "smuggled.png"
    content = archive({f"facades/train/{i}.png": png(i) for i in range(3)} | {str(outside): png(1)})
    server.answers["/it"] = partial(send, content=content)
    succeeded(get("/it"))
    assert not outside.exists()


def test_an_archive_larger_than_the_disk_is_refused(server: Server, get: Callable[..., Any], tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb") as file:
        info = tarfile.TarInfo("facades/huge.png")
        info.size = 2**50  # in the header; there is no content
        file.write(info.tobuf(tarfile.GNU_FORMAT))
    server.answers["/it"] = partial(send, content=buffer.getvalue())
    result = get("/it")
    assert result.returncode == 1
    assert "MiB are free" in result.stderr or "not a whole tar archive" in result.stderr
    assert left(tmp_path) == []


def test_what_was_fetched_first_counts(server: Server, get: Callable[..., Any], tmp_path: Path) -> None:
    content = facades()
    server.answers["/it"] = partial(send, content=content)
    succeeded(get("/it"))
    server.answers["/it"] = partial(send, content=archive({"facades/train/0.png": png(0)}))
    other = get("/it", f"output={tmp_path / 'place' / 'again'}")
    assert other.returncode == 1
    assert "its checksum is not the one recorded at the first download" in other.stderr
    assert left(tmp_path) == ["data"]
    server.answers["/it"] = partial(send, content=content)
    succeeded(get("/it", f"output={tmp_path / 'place' / 'again'}"))


def test_a_published_checksum_counts(server: Server, get: Callable[..., Any], tmp_path: Path) -> None:
    content = facades()
    server.answers["/it"] = partial(send, content=content)
    wrong = get("/it", f"sets.facades.archives.all.sha256={'0' * 64}")
    assert "its checksum is not the one published" in wrong.stderr
    assert left(tmp_path) == []
    succeeded(get("/it", f"sets.facades.archives.all.sha256={hashlib.sha256(content).hexdigest()}"))


def test_a_folder_of_something_else_is_left_alone(server: Server, get: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "place" / "data").mkdir(parents=True)
    (tmp_path / "place" / "data" / "mine.txt").write_text("mine")
    result = get("/it")
    assert result.returncode == 1
    assert "name another folder: output=" in result.stderr
    assert [path.name for path in (tmp_path / "place" / "data").iterdir()] == ["mine.txt"]
    assert not server.requests


def test_two_archives_become_two_folders(server: Server, command: Command, tmp_path: Path) -> None:
    for side in ("faces", "comics"):
        content = archive({f"some/{side}/{i}.png": png(i, (32, 32)) for i in range(3)} | {"some/read.me": b""})
        server.answers[f"/{side}.tar"] = partial(send, content=content)
    addresses = [f"sets.face2comics2.archives.{name}.url={server.url(path)}"
                 for name, path in {"face": "/faces.tar", "comics": "/comics.tar"}.items()]  # fmt: skip
    succeeded(command("download", "name=face2comics2", *addresses, f"output={tmp_path / 'place' / 'data'}"))
    assert sorted(
        str(path.relative_to(tmp_path / "place" / "data")) for path in (tmp_path / "place" / "data").rglob("*.png")
    ) == [f"{side}/{i}.png" for side in ("comics", "face") for i in range(3)]


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_download_leaves_nothing_that_looks_whole(sent: signal.Signals, server: Server, tmp_path: Path,
                                                                 command: Command) -> None:  # fmt: skip
    content = facades()
    waiting = threading.Event()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if server.requests["/it"] > 1:
            send(handler, content)
            return
        send(handler, content, keep=1000)
        handler.wfile.flush()
        waiting.set()
        time.sleep(60)

    server.answers["/it"] = answer
    options = [
        "name=facades",
        f"sets.facades.archives.all.url={server.url('/it')}",
        f"output={tmp_path / 'place' / 'data'}",
    ]
    process = subprocess.Popen([sys.executable, "-m", "image_translation.download", *options], cwd=tmp_path,
                               env=os.environ | {"PYTHONPATH": str(PROJECT)}, stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        assert waiting.wait(60)
        time.sleep(1)  # until it waits for the rest: a signal may be lost in a destructor
        process.send_signal(sent)
        assert process.wait(30) == (130 if sent == signal.SIGINT else -signal.SIGKILL)
    finally:
        process.kill()
    assert not (tmp_path / "place" / "data").exists()
    if sent == signal.SIGINT:
        assert left(tmp_path) == []
    succeeded(command("download", *options))
    assert left(tmp_path) == ["data"]


def test_an_unknown_set_is_named(command: Command) -> None:
    result = command("download", "name=facade")
    assert result.returncode == 1
    assert "facades" in result.stderr
    assert "Did you mean 'facades'?" in result.stderr


# Photos from torchvision


def flowers(server: Server, monkeypatch: pytest.MonkeyPatch, **files: bytes) -> None:
    """A tiny Flowers102 on the server, in the form of the real one."""
    photos = {f"jpg/image_{i:05}.jpg": png(i, (20, 30)) for i in range(1, 9)}
    labels, splits = io.BytesIO(), io.BytesIO()
    savemat(labels, {"labels": np.ones((1, 8), np.uint8)})
    savemat(splits, {"trnid": [[1, 2, 3, 4]], "valid": [[5, 6]], "tstid": [[7, 8]]})
    contents = {"102flowers.tgz": archive(photos), "imagelabels.mat": labels.getvalue(), "setid.mat": splits.getvalue()}
    names = {"image": "102flowers.tgz", "label": "imagelabels.mat", "setid": "setid.mat"}
    for name, content in (contents | files).items():
        server.answers[f"/{name}"] = partial(send, content=content)
    digests = {key: (name, hashlib.md5(contents[name]).hexdigest()) for key, name in names.items()}
    monkeypatch.setattr(datasets.Flowers102, "_download_url_prefix", server.url("/"))
    monkeypatch.setattr(datasets.Flowers102, "_file_dict", digests)


def test_photos_of_torchvision(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flowers(server, monkeypatch)
    data = tmp_path / "place" / "data"
    download({"name": "torchvision.Flowers102"}, data, partial(export, "Flowers102"))
    counts = {"test": 2, "train": 4, "val": 2}
    there = sorted(str(path.relative_to(data)) for path in data.rglob("*.jpg"))
    assert there == [f"{split}/{i:06}.jpg" for split, count in counts.items() for i in range(count)]
    assert (data / "val" / "000000.jpg").read_bytes() == png(5, (20, 30))  # as it was, not saved anew
    assert left(tmp_path) == ["data"]
    assert json.loads((data / ".download.json").read_text()) == {"name": "torchvision.Flowers102"}


def test_damaged_photos_of_torchvision(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flowers(server, monkeypatch, **{"setid.mat": b"damaged"})
    with pytest.raises(UserError, match=r"torchvision\.Flowers102 cannot be fetched .*corrupted"):
        download({"name": "torchvision.Flowers102"}, tmp_path / "place" / "data", partial(export, "Flowers102"))
    assert left(tmp_path) == []


def test_an_unknown_set_of_torchvision(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"torchvision\.Flowers103 is none of .*Did you mean 'Flowers102'"):
        export("Flowers103", tmp_path)


def header(content: bytes, number: int) -> int:
    """Where the header of a member of a plain archive begins."""
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return tar.getmembers()[number].offset


ZIPPED, PLAIN = facades(), facades("w")
NO_WHOLE, NO_IMAGES = "not a whole tar archive", "holds no images"


@pytest.mark.parametrize(
    ("content", "whole", "message"),
    [
        (changed(ZIPPED, -6), ZIPPED, NO_WHOLE),
        (PLAIN[: header(PLAIN, 6)], PLAIN, NO_WHOLE),
        (PLAIN[: header(PLAIN, 6) + 100], PLAIN, NO_WHOLE),
        (PLAIN[: header(PLAIN, 6) + 600], PLAIN, NO_WHOLE),
        (changed(PLAIN, header(PLAIN, 6)), PLAIN, NO_WHOLE),
        (archive({}), ZIPPED, NO_IMAGES),
        (archive({"facades/read.me": b"moved"}), ZIPPED, NO_IMAGES),
        (archive({".hidden/0.png": png(0)}), ZIPPED, NO_IMAGES),
    ],
    ids=["checksum of gzip", "cut between two", "cut in a header", "cut in a image", "damaged header",
         "empty", "no image", "hidden image"],
)  # fmt: skip
def test_what_is_no_set_is_noticed_and_not_remembered(
    content: bytes, whole: bytes, message: str, server: Server, get: Callable[..., Any], tmp_path: Path
) -> None:
    server.answers["/it"] = partial(send, content=content)
    result = get("/it")
    assert result.returncode == 1
    assert message in result.stderr
    assert left(tmp_path) == []
    server.answers["/it"] = partial(send, content=whole)
    assert "data: 11 files." in succeeded(get("/it")).stdout


@pytest.mark.parametrize("mark", ["", '{"name": "fac', "[" * 10_000])
def test_a_damaged_description_is_named(mark: str, server: Server, get: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "place" / "data").mkdir(parents=True)
    (tmp_path / "place" / "data" / ".download.json").write_text(mark)
    result = get("/it")
    assert result.returncode == 1
    assert ".download.json is damaged; remove" in result.stderr
    assert "Traceback" not in result.stderr
    assert not server.requests


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("retries=abc", "retries must be a whole number, got 'abc'"),
        ("retries=null", "retries must be a whole number, got None"),
        ("retries=-1", "retries must be at least 0, got -1"),
        ("output=null", "output must be the name of a folder, got None"),
        ("output=[a]", "output must be the name of a folder, got ['a']"),
    ],
)
def test_an_odd_option_is_named(option: str, message: str, server: Server, get: Callable[..., Any]) -> None:
    result = get("/it", option)
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not server.requests
