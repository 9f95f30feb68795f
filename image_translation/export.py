"""Write only a run's generator, as a safetensors file that other programs read and that can hold no code.

python -m image_translation.export run=outputs/… output=generator.safetensors
"""

from pathlib import Path

from hydra.utils import get_class
from omegaconf import DictConfig

from image_translation.cli.app import command, folder_of
from image_translation.cli.errors import UserError
from image_translation.runs.config import compose_saved
from image_translation.runs.folder import trained_run


@command("export")
def main(cfg: DictConfig) -> None:
    # Imported here, because --help and --cfg must not wait for torch.
    from image_translation.inference.checkpoints import load, save_generator

    source, output = trained_run(str(folder_of("run", cfg.run))), Path(str(cfg.output)).expanduser()
    if output.suffix != ".safetensors":
        raise UserError(f"output must end in .safetensors, got {output}.")
    if output.exists():
        raise UserError(f"{output} exists, and nothing is overwritten. Name another file: output=…")
    if source.is_dir():
        get_class(compose_saved(source)[0].model._target_)  # imports the user's own
    model = load(source)
    save_generator(model, output)
    print(f"{output}: the generator of a {type(model).__name__}, {output.stat().st_size / 2**20:,.1f} MiB.")


if __name__ == "__main__":
    main()
