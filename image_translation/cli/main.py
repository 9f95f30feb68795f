"""The console command: ``image-translation train task=comic`` is ``python -m image_translation.train task=comic``."""

import ast
import runpy
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def main() -> None:
    """Run the command that the first argument names; without one, list them all."""
    commands = {path.stem: path for path in sorted(PACKAGE.glob("*.py")) if path.stem != "__init__"}
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name not in commands:
        print("Usage: image-translation <command> <option>=<value> …    (<command> --help lists the options)\n")
        for command, path in commands.items():
            text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            print(f"  {command:10} {text.splitlines()[0]}")
        sys.exit(name not in ("--help", "-h"))
    module = f"image_translation.{name}"
    sys.argv = [module, *sys.argv[2:]]
    runpy.run_module(module, run_name="__main__", alter_sys=True)  # further processes are then started by its name
