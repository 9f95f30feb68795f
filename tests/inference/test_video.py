"""Predicting videos."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Command, image, succeeded
from torch import Tensor

import image_translation
from image_translation.cli.errors import UserError
from image_translation.inference.planning import Job
from image_translation.inference.predictor import Predictor
from image_translation.inference.video import predict_video
from image_translation.models import Identity

av = pytest.importorskip("av")
WIDTH, HEIGHT, COUNT = 96, 64, 10


@pytest.fixture
def clip(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Ten frames, of which the third is late, and sound."""
    path = tmp_path / f"a clip.{getattr(request, 'param', 'mp4')}"
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    with av.open(str(path), "w") as container:
        video = container.add_stream("libvpx-vp9" if path.suffix == ".webm" else "libx264", rate=Fraction(25))
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000)
        sound = container.add_stream("libopus" if path.suffix == ".webm" else "aac", rate=48000, layout="mono")
        for index in range(COUNT):
            array = np.stack([2 * columns, 3 * rows, 0 * rows + 100 + 8 * index], -1).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(array)
            frame.pts, frame.time_base = 40 * index + 20 * (index == 2), Fraction(1, 1000)
            container.mux(video.encode(frame))
            wave = (9000 * np.sin(np.arange(1920) / 20 + index)).astype(np.int16)[None]
            samples = av.AudioFrame.from_ndarray(wave, format="s16", layout="mono")
            samples.sample_rate, samples.pts = 48000, 1920 * index
            container.mux(sound.encode(samples))
        container.mux(video.encode(None))
        container.mux(sound.encode(None))
    return path


def frames(path: Path) -> list[np.ndarray[Any, Any]]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24").astype(float) for frame in container.decode(video=0)]


def times(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [frame.time for frame in container.decode(video=0)]


def sound(path: Path) -> list[tuple[bytes, Any]]:
    with av.open(str(path)) as container:
        return [(bytes(packet), packet.pts and packet.pts * packet.time_base) for packet in container.demux(audio=0)]


def largest_difference(some: Sequence[np.ndarray[Any, Any]], others: Sequence[np.ndarray[Any, Any]]) -> float:
    return max(float(np.abs(one - other).mean()) for one, other in zip(some, others, strict=True))


@pytest.mark.parametrize("clip", ["mp4", "webm"], indirect=True)
def test_frames_times_and_sound_are_kept(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "out" / clip.name
    assert predict_video(Predictor(Identity().eval()), Job(clip, target)) == COUNT
    assert times(target) == times(clip)
    assert times(clip)[2] == pytest.approx(0.1)
    assert sound(target) == sound(clip)
    assert largest_difference(frames(target), frames(clip)) < 3


def test_side_by_side(clip: Path, tmp_path: Path) -> None:
    predict_video(Predictor(Identity().eval()), Job(clip, tmp_path / f"both{clip.suffix}"), side_by_side=True)
    both = frames(tmp_path / f"both{clip.suffix}")
    assert both[0].shape == (HEIGHT, 2 * WIDTH, 3)
    assert largest_difference([frame[:, :WIDTH] for frame in both], [frame[:, WIDTH:] for frame in both]) < 3


class Flicker(Identity):
    """Brighter and darker in turn."""

    sign = 1.0

    def forward(self, images: Tensor) -> Tensor:
        self.sign = -self.sign
        return images + 0.2 * self.sign


def test_smoothing_takes_flicker_away(clip: Path, tmp_path: Path) -> None:
    changes = []
    for smooth in (0.0, 0.8):
        target = tmp_path / f"{smooth}{clip.suffix}"
        predict_video(Predictor(Flicker().eval()), Job(clip, target), smooth)
        offsets = [
            frame[..., 2].mean() - old[..., 2].mean() for frame, old in zip(frames(target), frames(clip), strict=True)
        ]
        changes.append(float(np.abs(np.diff(offsets)).mean()))
    assert changes[0] > 40
    assert changes[1] < 10


def test_what_is_no_video_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(UserError, match=r"text\.mp4: cannot be decoded"):
        predict_video(Predictor(Identity().eval()), Job(tmp_path / "text.mp4", tmp_path / "out" / "text.mp4"))
    assert not list((tmp_path / "out").iterdir())
    for smooth in (-1, 1.0):
        with pytest.raises(UserError, match="smooth must be"):
            predict_video(Predictor(Identity().eval()), Job(tmp_path / "a.mp4", tmp_path / "b.mp4"), smooth)


def test_beside_images_in_a_folder(clip: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    clip.rename(folder / clip.name)
    image(1).save(folder / "photo.png")
    (folder / "text.mov").write_text("no video")
    with pytest.raises(UserError, match=r"1 of 3 files were not predicted:\s.*text\.mov: cannot be decoded"):
        image_translation.predict_folder(Identity().eval(), folder, out, form="jpg", smooth=0.5)
    assert sorted(path.name for path in out.iterdir()) == [clip.name, "photo.jpg"]


def test_the_command(clip: Path, finished_run: Path, command: Command, tmp_path: Path) -> None:
    options = [f"run={finished_run}", f"input={clip}", f"output={tmp_path / 'out'}", "device=cpu", "smooth=0.5"]
    result = succeeded(command("predict", *options))
    assert f"{tmp_path / 'out'}: 1 files, " in result.stdout
    assert "1 of 1 files exist" in command("predict", *options).stderr
    assert torch.isfinite(torch.tensor(frames(tmp_path / "out" / clip.name)[0])).all()
