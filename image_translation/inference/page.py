"""A web page on which to try models: upload an image, compare it with the output, download that."""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import torch
from PIL import Image

from image_translation.data.images import read_image
from image_translation.inference.files import Job, header_size, predict_files
from image_translation.inference.predictor import Predictor

SIZES = [("its own size", "native"), ("the size of the training images", "train")]
THEME = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])  # its own come from a server
DAY = 86400  # seconds
PredictorFor = Callable[[str, str], Predictor]


def make_page(
    runs: Sequence[str], examples: Sequence[Path], predictor_for: PredictorFor, pixels: int, folder: Path
) -> gr.Blocks:
    """The page.

    Args:
        runs: names of the models to choose from.
        examples: image files to try them on.
        predictor_for: makes the predictor for a name and a ``size``.
        pixels: images with more are refused.
        folder: where outputs go; Gradio's own.
    """

    def predict_image(run: str, size: str, path: str | None) -> tuple[Any, Any]:
        if path is None:
            return None, gr.DownloadButton(value=None, interactive=False)
        predictor = predictor_for(run, size)
        (output,) = predict_uploads(predictor, [path], folder, pixels)
        image = read_image(Path(path).read_bytes(), path, predictor.model.trained_on["background"])
        (inputs,) = predictor.inputs(torch.tensor(np.asarray(image)).permute(2, 0, 1)[None])
        before = Image.fromarray(inputs.permute(1, 2, 0).numpy())
        return (before, str(output)), gr.DownloadButton(value=output, interactive=True)

    def predict_several(run: str, size: str, paths: list[str] | None, progress: Any = gr.Progress()) -> Any:  # noqa: B008
        if not paths:
            raise gr.Error("Choose some files first.", print_exception=False)
        outputs = predict_uploads(predictor_for(run, size), paths, folder, pixels, progress)
        archive = shutil.make_archive(str(outputs[0].parent), "zip", outputs[0].parent)
        return [str(output) for output in outputs], gr.DownloadButton(value=archive, interactive=True)

    alone: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1}
    page = gr.Blocks(title="image_translation", analytics_enabled=False, delete_cache=(DAY, DAY))
    with page:
        with gr.Row():
            run = gr.Dropdown(list(runs), value=runs[0], label="Model", visible=len(runs) > 1)
            size = gr.Radio(SIZES, value="native", label="Predict the image at")
        with gr.Tab("One image"), gr.Row():
            with gr.Column():
                image = gr.Image(label="Input", sources=["upload", "clipboard"], buttons=[], height=500)
                # The file as it was uploaded: decoded by Gradio, it would lose 16 bits, profiles and its name.
                image.preprocess = uploaded_file  # type: ignore[method-assign]
                if examples:
                    gr.Examples([[str(path)] for path in examples], image, label="Test images of the run")
            with gr.Column():
                slider = gr.ImageSlider(label="Input | output", buttons=["fullscreen"], format="png")
                download = gr.DownloadButton("Download the output", interactive=False)
        with gr.Tab("Several images"):
            files = gr.File(label="Inputs", file_count="multiple", file_types=["image"])
            start = gr.Button("Predict", variant="primary")
            gallery = gr.Gallery(label="Outputs", columns=4, format="png")
            archive = gr.DownloadButton("Download them all", interactive=False)
        changes = [image.change, run.change, size.change]
        gr.on(changes, predict_image, [run, size, image], [slider, download], **alone)
        start.click(predict_several, [run, size, files], [gallery, archive], **alone)
    return page


def uploaded_file(payload: Any) -> str | None:
    """The path of an upload, None if there is none."""
    return None if payload is None else str(payload.path)


def predict_uploads(
    predictor: Predictor, paths: Sequence[str], folder: Path, pixels: int, progress: Any = None
) -> list[Path]:
    """Predict files as ``predict format=png`` does, into a new folder below ``folder``.

    ``gr.Error`` if none of them can be predicted; what is wrong with some of several is shown in a warning.
    """
    output, jobs, failed = Path(tempfile.mkdtemp(dir=folder)) / "outputs", list[Job](), list[str]()
    for path in map(Path, paths):
        width, height = header_size(path)
        if width * height > pixels:
            failed.append(f"{path.name}: {width}×{height} pixels; here an image may have {pixels / 1e6:g} million.")
        else:
            same = sum(job.source.stem == path.stem for job in jobs)
            jobs.append(Job(path, output / (f"{same + 1}" if same else "") / f"{path.stem}.png"))
    messages = predict_files(predictor, jobs)
    shown = progress.tqdm(messages, total=len(jobs)) if progress else messages
    failed += [message.replace(f"{folder}/", "").partition("/")[2] for message in shown if message]
    if len(failed) == len(paths):
        raise gr.Error("\n".join(failed), print_exception=False)
    if failed:
        gr.Warning("\n".join(failed))
    return [job.target for job in jobs if job.target.exists()]
