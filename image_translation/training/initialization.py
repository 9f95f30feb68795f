"""Starting from the weights of another run: fine-tuning."""

import logging
from pathlib import Path

from torch import Tensor

from image_translation.cli.errors import UserError
from image_translation.data.sources.base import bullets
from image_translation.inference.checkpoints import read_weights
from image_translation.models import ImageTranslationModule
from image_translation.runs.folder import trained_run

log = logging.getLogger(__name__)
NETWORKS = ("generator", "discriminator")


def fitting_weights(model: ImageTranslationModule, source: str, strict: bool) -> dict[str, Tensor]:
    """The weights of a run, a checkpoint or an exported safetensors file that a model can take over.

    A network that only one of them has, such as a discriminator, is left out.

    Raises:
        UserError: with ``strict``, a tensor of a network that both have fits nowhere, has another shape, or is missing.
    """
    path = trained_run(str(source))
    _, _, found = read_weights(Path(path))
    own = model.state_dict()

    def networks(weights: dict[str, Tensor]) -> set[str]:
        return {name.partition(".")[0] for name in weights} & {*NETWORKS}

    both = networks(found) & networks(own)
    given, wanted = (
        {name: value for name, value in weights.items() if name.partition(".")[0] in both} for weights in (found, own)
    )
    problems = [f"{name} is missing in {path}" for name in wanted.keys() - given.keys()]
    problems += [f"{name} fits nowhere" for name in given.keys() - wanted.keys()]
    other = [name for name in wanted.keys() & given.keys() if wanted[name].shape != given[name].shape]
    problems += [f"{name} is {tuple(given[name].shape)}, not {tuple(wanted[name].shape)}" for name in other]
    if problems and strict:
        raise UserError(f"init_from={source}: these are weights of another network:{bullets(sorted(problems), 10)}\n"
                        "Use the options of that run, or init_strict=false to take over what fits.")  # fmt: skip
    fitting = {name: given[name] for name in given.keys() & wanted.keys() if name not in other}
    log.info("Starts from %d of %d tensors of %s in %s.", len(fitting), len(wanted), " and ".join(sorted(both)), path)
    return fitting
