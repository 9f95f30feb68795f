"""Look at every pair of a data set before training, and say what is wrong and what to do.

python -m image_translation.check task=comic data.root=…
"""

import sys

from omegaconf import DictConfig

from image_translation.cli.app import command, folder_of, instantiate
from image_translation.cli.errors import UserError, one_of
from image_translation.runs.files import write_json, write_text


@command("check")
def main(cfg: DictConfig) -> None:
    from image_translation.checking.report import examine  # here, because --help must not wait for it

    strict, output = one_of("strict", cfg.strict, (True, False)), folder_of("output", cfg.output)
    if (output / "check.html").exists() and not (output / "check.json").exists():
        raise UserError(f"{output} has a check.html that no check wrote; name another folder: output=…")
    checked = examine(instantiate(cfg.data, "data"))
    print(checked.render("check.txt.j2"), end="")
    status = 1 if checked.problems else 2 if strict and checked.findings else 0
    output.mkdir(parents=True, exist_ok=True)
    write_json(output / "check.json", checked.as_json() | {"exit_status": status})
    write_text(output / "check.html", checked.render("check.html.j2"))
    print(f"Report: {output / 'check.html'}")
    sys.exit(status)


if __name__ == "__main__":
    main()
