"""Look at every pair of a data set before training, and say what is wrong and what to do.

python -m image_translation.check task=comic data.root=path/to/pairs
"""

import sys

from omegaconf import DictConfig

from image_translation.cli.app import command, folder_of, instantiate
from image_translation.cli.errors import UserError
from image_translation.cli.values import check_values
from image_translation.runs.files import write_json, write_text


@command("check")
def main(cfg: DictConfig) -> None:
    check_values(cfg)
    output = folder_of("output", cfg.output)
    if (output / "check.html").exists() and not (output / "check.json").exists():
        raise UserError(f"{output} has a check.html that no check wrote; name another folder: output=…")
    from image_translation.checking.report import examine  # here, because it imports torch

    checked = examine(instantiate(cfg.data, "data"))
    print(checked.render("check.txt.j2"), end="")
    status = 1 if checked.problems else 2 if cfg.strict and checked.findings else 0
    output.mkdir(parents=True, exist_ok=True)
    write_json(output / "check.json", checked.as_json() | {"exit_status": status})
    write_text(output / "check.html", checked.render("check.html.j2"))
    print(f"Report: {output / 'check.html'}")
    sys.exit(status)


if __name__ == "__main__":
    main()
