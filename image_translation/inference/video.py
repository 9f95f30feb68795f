"""Predicting a video, frame by frame. Its sound is kept."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from rich.progress import track

from image_translation.cli.console import console
from image_translation.cli.errors import UserError, at_least
from image_translation.data.kinds import Array, to_shown
from image_translation.inference.planning import VIDEO, Job
from image_translation.inference.predictor import Predictor
from image_translation.runs.files import atomic_write

CODECS = dict.fromkeys(VIDEO, "libx264") | {".webm": "libvpx-vp9"}
MUXERS = {".mkv": "matroska"}  # where it is not called by the suffix
OPTIONS = {"crf": "18"}  # quality: hardly to be told from the frames
BT709 = 1  # colors as of HD video, said in the file


def predict_video(predictor: Predictor, job: Job, smooth: float = 0.0, side_by_side: bool = False) -> int:
    """Predict all frames of a video at the times that they have, and return how many.

    Args:
        smooth: against flicker, from 0 to below 1: each frame's correction, which is output − input, is the mean of its
            own, weighted by 1 − ``smooth``, and the one before.
        side_by_side: puts what the network got on the left of the output.

    Raises:
        UserError: the file can't be read, holds no video, or PyAV is missing.
    """
    at_least("smooth", smooth, 0)
    if smooth >= 1:
        raise UserError(f"smooth must be below 1, got {smooth}.")
    if predictor.input.name != "rgb" or not predictor.target.is_8_bit:
        raise UserError(f"{job.source.name}: a video needs a model from 8-bit colors to images of 8 bits.")
    try:
        import av
    except ImportError as error:
        raise UserError(f"{job.source.name}: a video needs PyAV: pip install '.[video]' ({error}).") from error
    suffix = job.target.suffix.lower()
    job.target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with av.open(str(job.source)) as source, atomic_write(job.target) as file:
            if not source.streams.video:
                raise UserError(f"{job.source}: holds no video.")
            with av.open(str(job.source)) as again:  # a file that has been read can't be gone back in to its very start
                height, width = next(_upright(frame).shape[:2] for frame in again.decode(video=0))
            with av.open(file, "w", format=MUXERS.get(suffix, suffix[1:])) as target:
                encoder: Any = target.add_stream(
                    CODECS[suffix], rate=source.streams.video[0].average_rate, options=OPTIONS
                )
                encoder.height, encoder.width = height // 2 * 2, (1 + side_by_side) * width // 2 * 2
                return _convert(predictor, source, target, encoder, smooth, side_by_side)
    except av.error.FFmpegError as error:
        raise UserError(f"{job.source}: cannot be decoded, or written as {suffix} ({error.strerror}).") from error


def _convert(predictor: Predictor, source: Any, target: Any, encoder: Any, smooth: float, side_by_side: bool) -> int:
    from av import VideoFrame

    video = source.streams.video[0]
    video.thread_type = "AUTO"
    encoder.pix_fmt = "yuv420p"
    encoder.time_base = encoder.codec_context.time_base = video.time_base
    encoder.colorspace = encoder.color_primaries = encoder.color_trc = encoder.color_range = BT709
    sounds = {sound: target.add_stream_from_template(sound) for sound in source.streams.audio}

    def frames() -> Iterator[Any]:
        """Those of the video; sound is copied on the way."""
        for packet in source.demux(video, *sounds):
            if packet.stream is video:
                yield from packet.decode()
            elif packet.dts is not None:  # the last is empty
                packet.stream = sounds[packet.stream]
                target.mux(packet)

    count, mean = 0, None
    quiet = not console().is_terminal
    for frame in track(frames(), "Predicting", video.frames or None, transient=True, disable=quiet):
        count += 1
        x = torch.from_numpy(_upright(frame).copy()).permute(2, 0, 1)[None]
        before, after = predictor.inputs(x).float(), to_shown(predictor(x), predictor.target).float()
        mean = after - before if mean is None else smooth * mean + (1 - smooth) * (after - before)
        output = (before + mean).round().clamp(0, 255).to(torch.uint8)
        shown = torch.cat([before.to(torch.uint8), output], dim=-1) if side_by_side else output
        array = shown[0, :, : encoder.height, : encoder.width].permute(1, 2, 0).contiguous().numpy()
        made = VideoFrame.from_ndarray(array).reformat(format="yuv420p", dst_colorspace="ITU709")
        made.pts, made.time_base = frame.pts, frame.time_base
        target.mux(encoder.encode(made))
    target.mux(encoder.encode(None))
    return count


def _upright(frame: Any) -> Array:
    """A frame (H, W, 3), turned as the file says: telephones store the sensor's orientation."""
    return np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)
