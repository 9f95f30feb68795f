"""A web page on which to try models: upload an image, compare it with the output, download that."""

import html
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from torchvision.transforms.functional import to_pil_image

from image_translation.data.kinds import shown_image, to_shown, to_tensor
from image_translation.data.values import read
from image_translation.inference.files import header_size, predict_files
from image_translation.inference.planning import Job
from image_translation.inference.predictor import Predictor

SIZES = [("its own size", "native"), ("the size of the training images", "train")]
THEME = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])  # its own come from a server
DAY = 86400  # seconds
NOTHING = gr.update(value=None, interactive=False)
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
        predictor = predictor_for(run, size)
        outputs = predict_uploads(predictor, [path] if path else [], folder, pixels)
        if not outputs:
            return None, NOTHING
        uploaded = Path(str(path))
        stored = read(uploaded.read_bytes(), uploaded, predictor.input, predictor.model.trained_on["background"])
        before = to_pil_image(to_shown(predictor.inputs(to_tensor(stored)[None])[0], predictor.input))
        after: Any = str(outputs[0])
        if not predictor.target.is_8_bit:
            values = read(outputs[0].read_bytes(), outputs[0], predictor.target, "white")
            after = shown_image(values, predictor.target, "target")
        return (before, after), gr.DownloadButton(value=outputs[0], interactive=True)

    def predict_several(run: str, size: str, paths: list[str] | None, progress: Any = gr.Progress()) -> Any:  # noqa: B008
        outputs = predict_uploads(predictor_for(run, size), paths or [], folder, pixels, progress)
        if not outputs:
            return None, NOTHING
        archive = shutil.make_archive(str(outputs[0].parent), "zip", outputs[0].parent)
        return [str(output) for output in outputs], gr.DownloadButton(value=archive, interactive=True)

    def copy_of(index: int) -> str:
        """A test image where Gradio may serve it from."""
        return str(shutil.copy(examples[index], tempfile.mkdtemp(dir=folder)))

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
                samples = gr.Dataset(components=["image"], samples=[[str(path)] for path in examples], type="index",
                                     label="Test images of the run", visible=bool(examples))  # fmt: skip
            with gr.Column():
                slider = gr.ImageSlider(label="Input | output", buttons=["fullscreen"], format="png")
                download = gr.DownloadButton("Download the output", interactive=False)
        with gr.Tab("Several images"):
            files = gr.File(label="Inputs", file_count="multiple", file_types=["image"])
            start = gr.Button("Predict", variant="primary")
            gallery = gr.Gallery(label="Outputs", columns=4, format="png")
            archive = gr.DownloadButton("Download them all", interactive=False)
        chosen = samples.click(copy_of, samples, image).then
        for change in (image.input, run.change, size.change, chosen):  # image.change would come twice
            change(predict_image, [run, size, image], [slider, download], **alone)
        start.click(predict_several, [run, size, files], [gallery, archive], **alone)
    return page


def uploaded_file(payload: Any) -> str | None:
    """The path of an upload, None if there is none."""
    return None if payload is None else str(payload.path)


def predict_uploads(
    predictor: Predictor, paths: Sequence[str], folder: Path, pixels: int, progress: Any = None
) -> list[Path]:
    """Predict files as ``predict format=png`` does, into a new folder below ``folder``.

    What is wrong with a file is shown, and the others are done.
    """
    output, jobs, failed = Path(tempfile.mkdtemp(dir=folder)) / "outputs", list[Job](), list[str]()
    for path in map(Path, paths):
        width, height = header_size(path)
        if width * height > pixels:
            failed.append(f"{path.name}: {width}×{height} pixels; here an image may have {pixels / 1e6:g} million.")
        else:
            same = sum(job.source.stem == path.stem for job in jobs)
            jobs.append(Job(path, output / (f"{same + 1}" if same else "") / f"{path.stem}{predictor.target.suffix}"))
    messages = predict_files(predictor, jobs)
    shown = progress.tqdm(messages, total=len(jobs)) if progress else messages
    failed += [message.replace(f"{folder}/", "").partition("/")[2] for message in shown if message]
    for message in failed:
        gr.Warning(html.escape(message), title="Not predicted")
    return [job.target for job in jobs if job.target.exists()]
