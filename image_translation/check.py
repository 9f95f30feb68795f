"""Look at every pair of a data set before training, and say what is wrong and what to do.

python -m image_translation.check task=comic data.root=…
"""

import sys

from omegaconf import DictConfig

from image_translation.cli.app import command, folder_of, instantiate
from image_translation.cli.errors import UserError, one_of
from image_translation.runs.files import write_json, write_text

SHOWN = 10  # findings of a kind on the terminal; the page and the JSON file have all


@command("check")
def main(cfg: DictConfig) -> None:
    # Imported here, because --help must not wait for them.
    from image_translation.checking.findings import KINDS, by_kind
    from image_translation.checking.report import examine

    strict, output = one_of("strict", cfg.strict, (True, False)), folder_of("output", cfg.output)
    data, page = output / "check.json", output / "check.html"
    if (data.exists() or page.exists()) and not (data.is_file() and '"findings"' in data.read_text(errors="replace")):
        raise UserError(f"{output} holds a check.json or check.html of something else. Name another folder: output=…")

    checked = examine(instantiate(cfg.data, "data"), output)
    print(*checked.notes, sep="\n")
    for kind, findings in by_kind(checked.findings).items():
        title, advice = KINDS[kind]
        print(f"\n{findings[0].severity.capitalize()}: {title} ({len(findings)})")
        for finding in findings[:SHOWN]:
            print(f"  - {finding.text}")
        if len(findings) > SHOWN:
            print(f"  … and {len(findings) - SHOWN} more")
        print(f"  → {advice}")

    status = 1 if checked.problems else 2 if strict and checked.findings else 0
    write_json(data, checked.as_json() | {"exit_status": status})
    write_text(page, checked.as_page())
    print(f"\n{checked.verdict}\nReport: {page}")
    sys.exit(status)


if __name__ == "__main__":
    main()
