"""A trained network as one graph for other programs: 8-bit images in and out, and the proof that it is right."""

import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from image_translation import __version__
from image_translation.cli.errors import UserError, height_and_width
from image_translation.data.kinds import Kind
from image_translation.data.transforms import to_float, to_stored
from image_translation.inference.tiles import Statistics
from image_translation.networks.sizes import pad, size_limits

Run = Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]  # (N, H, W, C) as they are stored → outputs likewise
INPUT, OUTPUT, ABOUT = "images", "outputs", "image_translation"  # names in an exported file
SUFFIXES = {"safetensors": ".safetensors", "onnx": ".onnx", "torch": ".pt2", "openvino": ".xml", "hub": ""}  # by format
SIZE = 256  # of proving a model that does not say at which size it was trained
EQUAL, MOST = 0.99, 1  # the part of the values that must be equal, and how far the others may be off


class Graph(nn.Module):
    """Images (N, H, W, C) as they are stored → outputs likewise, of any size: normalization and padding are inside."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.network: nn.Module = model.generator
        self.limits, self.input, self.target = size_limits(model.generator), model.input_kind, model.target_kind

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[1:3]
        x = pad(to_float(images.permute(0, 3, 1, 2), self.input), *self.limits)
        return to_stored(self.network(x)[:, :, :height, :width], self.target).permute(0, 2, 3, 1)


def write_graph(model: Any, path: Path, form: str, about: dict[str, Any]) -> None:
    """Write a model as a graph. UserError if the library of the format is not installed.

    Args:
        model: an ``ImageTranslationModule`` on the CPU.
        path: a new file, with the suffix of the format.
        form: ``onnx``, ``torch`` (a program of ``torch.export``) or ``openvino``.
        about: what is written into the file beside it, plain values.
    """
    text = json.dumps(about)
    any_size = torch.export.Dim.DYNAMIC
    example = torch.zeros(
        2, 200, 150, model.input_kind.stored, dtype=model.input_kind.torch_dtype
    )  # its sizes are not kept
    with torch.no_grad(), quiet(), needed(form):
        shapes = ({0: any_size, 1: any_size, 2: any_size},)
        program = torch.export.export(Graph(model).eval(), (example,), dynamic_shapes=shapes, strict=False)
        if form == "torch":
            for size, known in program.range_constraints.items():  # from the example's, as if smaller were impossible
                program.range_constraints[size] = type(known)(1, known.upper)
            torch.export.save(program, path, extra_files={ABOUT: text})
            return
        names: Any = {"input_names": [INPUT], "output_names": [OUTPUT]}
        onnx_program: Any = torch.onnx.export(program, dynamo=True, verbose=False, **names)
        onnx_program.model.metadata_props[ABOUT] = text
        onnx_path = path.with_suffix(".onnx")
        onnx_program.save(onnx_path)
        if form == "openvino":
            import openvino

            converted = openvino.convert_model(onnx_path)
            converted.set_rt_info(text, [ABOUT])
            openvino.save_model(converted, path, compress_to_fp16=False)
            onnx_path.unlink()


def open_graph(path: Path) -> tuple[Run, dict[str, Any]]:
    """What computes an exported file's outputs, and what was written beside it; UserError if it can't be read."""
    form = next(form for form, suffix in SUFFIXES.items() if suffix == path.suffix)
    if not path.is_file():
        raise UserError(f"{path}: no such file.")
    with needed(form), quiet():
        try:
            run, text = OPEN[form](path)
            return run, json.loads(text)
        except ImportError:
            raise
        except Exception as error:  # each library has its own
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise UserError(f"{path}: damaged, or not exported by image_translation ({reason}).") from error


def _open_onnx(path: Path) -> tuple[Run, str]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    text = session.get_modelmeta().custom_metadata_map[ABOUT]
    return lambda images: session.run([OUTPUT], {INPUT: images})[0], text


def _open_torch(path: Path) -> tuple[Run, str]:
    files = {ABOUT: ""}
    program = torch.export.load(path, extra_files=files)
    # The guards are of the example's sizes, although the graph is right at others, as `differences` shows.
    module = program.module(check_guards=False)

    def run(images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        with torch.inference_mode():
            outputs: np.ndarray[Any, Any] = module(torch.from_numpy(images)).numpy()
        return outputs

    return run, files[ABOUT]


def _open_openvino(path: Path) -> tuple[Run, str]:
    import openvino

    model = openvino.Core().read_model(path)
    precise = {"INFERENCE_PRECISION_HINT": "f32"}  # by itself it computes in bf16 where a CPU can
    compiled = openvino.Core().compile_model(model, "CPU", precise)
    return lambda images: compiled(images)[0], str(model.get_rt_info([ABOUT]).value)


OPEN: dict[str, Callable[[Path], tuple[Run, str]]] = {
    "onnx": _open_onnx, "torch": _open_torch, "openvino": _open_openvino
}  # fmt: skip


def differences(model: Any, run: Run, size: tuple[int, int]) -> list[np.ndarray[Any, Any]]:
    """How far a graph's outputs are from the model's: of batches of 1 and 3 images, of three sizes near ``size``.

    In whole steps: of 8 bits 1, of other types 1/4095 of their range, above what float32 rounds off in a network. Of
    masks 1 for another class.
    """
    (rows, columns), given = size, model.input_kind
    kind: Kind = model.target_kind
    step = 1.0 if kind.dtype == "uint8" else kind.peak / 4095
    found = []
    generator = torch.Generator().manual_seed(0)
    for n in (1, 3):
        for height, width in (size, (rows, columns * 3 // 2 - 3), (rows // 2 + 5, columns)):
            small = torch.rand(n, given.channels, 6, 6, generator=generator)
            coarse = F.interpolate(small, (height, width), mode="bicubic")
            noise = torch.rand(n, given.channels, height, width, generator=generator)
            images = to_stored(2 * (0.9 * coarse + 0.1 * noise) - 1, given).permute(0, 2, 3, 1).contiguous().numpy()
            expected = np.stack([model.predict(image, tile=0, derive=False) for image in images])
            steps = (np.abs(run(images).astype(np.float64) - expected) / step).round()
            found.append(np.minimum(steps, 1) if kind.classes else steps)
    return found


def compared(kind: Kind) -> str:
    """What of the outputs is compared, see ``differences``."""
    return "classes" if kind.classes else "8-bit values" if kind.dtype == "uint8" else "values, in steps of 12 bits,"


def write_proven(model: Any, path: Path, form: str, facts: dict[str, Any]) -> float:
    """Write a model as a graph if its outputs are the model's; return which part of their values is equal.

    Args:
        model, path, form: see ``write_graph``.
        facts: of its run, for those who read the file.

    Raises:
        UserError: in a batch less than 99 % of the values are equal, or one is off by more than 1. Nothing is written.
    """
    about = {"model": type(model).__name__, "version": __version__, "trained_on": model.trained_on, **facts}
    about["normalizes_images"] = bool(Statistics(model.generator).norms)  # by their own statistics: tiles differ then
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.parent, prefix=".export-") as folder:
        draft = Path(folder) / path.name
        write_graph(model, draft, form, about)
        run, _ = open_graph(draft)
        found = differences(model, run, height_and_width("image_size", model.trained_on.get("image_size", SIZE), 1))
        equal, most = min(float((batch == 0).mean()) for batch in found), max(int(batch.max()) for batch in found)
        if equal < EQUAL or most > MOST:
            what = compared(model.target_kind)
            raise UserError(f"The exported graph is not right, so nothing was written: {100 * equal:.2f} % of its "
                            f"outputs' {what} equal the checkpoint's, and one is off by {most}.")  # fmt: skip
        for file in Path(folder).iterdir():  # OpenVINO writes two
            file.replace(path.with_suffix(file.suffix))
    return equal


@contextmanager
def needed(form: str) -> Iterator[None]:
    """UserError instead of an ImportError."""
    try:
        yield
    except ImportError as error:
        raise UserError(f"{error}. format={form} needs more packages: pip install 'image_translation[{form}]'"
                        ) from error  # fmt: skip


@contextmanager
def quiet() -> Iterator[None]:
    """Without the libraries' reports of their progress."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
