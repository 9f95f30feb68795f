"""Write a run's generator alone as a safetensors file, which other programs read and nobody has to trust.

python -m image_translation.export run=outputs/… output=generator.safetensors
"""

import json
from pathlib import Path

from omegaconf import DictConfig

from image_translation.cli.app import command
from image_translation.cli.errors import UserError
from image_translation.training.trust import import_own


@command("export")
def main(cfg: DictConfig) -> None:
    # Imported here, because --help and --cfg must not wait for torch.
    from safetensors.torch import save

    from image_translation.inference.checkpoints import load
    from image_translation.runs.files import atomic_write

    if cfg.run is None:
        raise UserError("run is not set; name a run folder or a checkpoint: run=outputs/<task>/<model>/<date_time>")
    source, output = Path(str(cfg.run)), Path(str(cfg.output)).expanduser()
    if output.suffix != ".safetensors":
        raise UserError(f"output must end in .safetensors, got {output}.")
    if output.exists():
        raise UserError(f"{output} exists, and nothing is overwritten; name another file: output=…")
    if not output.parent.is_dir():
        raise UserError(f"output={output}: the folder {output.parent} does not exist.")
    import_own()
    model = load(source)
    about = {"model": type(model).__name__, "options": dict(model.hparams)}
    weights = {name: tensor.contiguous() for name, tensor in model.generator.state_dict().items()}
    with atomic_write(output) as file:
        file.write(save(weights, {"image_translation": json.dumps(about)}))
    print(f"{output}: the generator of a {about['model']}, {output.stat().st_size / 2**20:,.1f} MiB.")


if __name__ == "__main__":
    main()
