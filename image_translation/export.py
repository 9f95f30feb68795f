"""Write a trained generator for other programs, as safetensors, ONNX, torch.export or OpenVINO, proven to be right.

python -m image_translation.export run=outputs/comic/pix2pix/2026-01-31_12-00-00 format=onnx output=model.onnx
"""

from pathlib import Path

from hydra.utils import get_class
from omegaconf import DictConfig

from image_translation.cli.app import command, folder_of
from image_translation.cli.errors import UserError
from image_translation.cli.values import EXPORT, check_values
from image_translation.runs.config import compose_saved
from image_translation.runs.folder import MANIFEST, facts_of, trained_run
from image_translation.runs.redact import redact


@command("export")
def main(cfg: DictConfig) -> None:
    check_values(cfg, EXPORT)
    # Imported here, because --help and --cfg must not wait for torch.
    from image_translation.inference.checkpoints import load, save_generator, write_hub
    from image_translation.inference.graph import SUFFIXES, compared, write_proven

    source, suffix = trained_run(str(folder_of("run", cfg.run))), SUFFIXES[cfg.format]
    output = Path(f"model{suffix}" if cfg.output is None else str(cfg.output)).expanduser()
    if suffix and output.suffix != suffix:
        raise UserError(f"output must end in {suffix}, got {output}.")
    if source.is_file() and source.suffix != ".ckpt":
        raise UserError(f"{source} is exported already. Name a run folder or a checkpoint.")
    if output.exists():
        raise UserError(f"{output} exists, and nothing is overwritten. Name another file: output=…")
    if (source / MANIFEST).exists():
        get_class(compose_saved(source)[0].model._target_)  # imports the user's own
    model = load(source)
    proof = ""
    if cfg.format == "hub":
        write_hub(model, source, output)
    elif cfg.format == "safetensors":
        save_generator(model, output)
    else:
        equal = write_proven(model, output, cfg.format, redact(facts_of(source)))
        others = "" if model.target_kind.classes else ", the others are 1 off"
        proof = f" {100 * equal:.2f} % of its outputs' {compared(model.target_kind)} equal the checkpoint's{others}."
    print(f"{output}: the generator of a {type(model).__name__}.{proof}")


if __name__ == "__main__":
    main()
