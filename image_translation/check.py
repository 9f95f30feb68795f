"""Look at every pair of a data set before the first epoch, and say what is wrong and what to do.

python -m image_translation.check task=comic data.root=…
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from image_translation.cli.app import command, folder_of, instantiate
from image_translation.cli.console import print_table
from image_translation.cli.errors import UserError, one_of
from image_translation.runs.files import read_json, write_json, write_text

FILES = ("check.json", "check.html")
SHOWN = 10  # findings of a kind on the terminal; the page and the JSON file have all


@command("check")
def main(cfg: DictConfig) -> None:
    strict = one_of("strict", cfg.strict, (True, False))
    status = check(instantiate(cfg.data), folder_of("output", cfg.output), strict)
    if status:
        sys.exit(status)


def check(datamodule: Any, output: Path, strict: bool = False) -> int:
    """Check a datamodule's pairs, write ``check.json`` and ``check.html`` to ``output``, and say what was found.

    Returns:
        0 if training can begin, 1 if there are problems that would spoil it, 2 if ``strict`` and there are warnings.

    Raises:
        UserError: there is nothing to check, or ``output`` holds somebody else's files of these names or can't be
            written.
    """
    # Imported here, because --help must not wait for them.
    from image_translation.checking import report
    from image_translation.checking.findings import KINDS, PROBLEM, WARNING, by_kind

    taken = [name for name in FILES if (output / name).exists()]
    if taken and not _is_ours(output / "check.json"):
        raise UserError(f"{output} holds {taken[0]}, which is not of a check; name another folder: output=…")
    is_new = not output.exists()
    _make_writable(output)  # said now, not after minutes
    try:
        checked = report.examine(datamodule)
    except BaseException:
        if is_new:
            output.rmdir()
        raise
    severities = [finding.severity for finding in checked.findings]
    status = 1 if PROBLEM in severities else 2 if strict and WARNING in severities else 0
    write_json(output / "check.json", checked.as_json() | {"exit_status": status})
    write_text(output / "check.html", checked.as_page())

    print_table(["split", "pairs", "sizes"], checked.split_rows())
    for line in checked.notes:
        print(line)
    for kind, findings in by_kind(checked.findings).items():
        about = KINDS[kind]
        print(f"\n{about.severity.capitalize()}: {about.title} ({len(findings)})")
        for finding in findings[:SHOWN]:
            print(f"  - {finding.text}")
        if len(findings) > SHOWN:
            print(f"  … and {len(findings) - SHOWN} more")
        print(f"  → {about.advice}")
    print(f"\n{checked.verdict}\nReport: {output / 'check.html'}")
    return status


def _make_writable(folder: Path) -> None:
    """Make a folder if there is none, and see that files can be made in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}); name another folder: output=…") from error


def _is_ours(file: Path) -> bool:
    """Whether a file is an earlier check's."""
    try:
        return "findings" in read_json(file)
    except (OSError, ValueError, TypeError):
        return False


if __name__ == "__main__":
    main()
