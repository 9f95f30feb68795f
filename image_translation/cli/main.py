"""The console command: ``image-translation train task=comic`` is ``python -m image_translation.train task=comic``."""

import ast
import os
import runpy
import sys
from importlib import import_module
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
COMPLETION = "--shell-completion", "-sc"


def main() -> None:
    """Run the command that the first argument names; without one, list them all."""
    commands = {path.stem: path for path in sorted(PACKAGE.glob("*.py")) if path.stem != "__init__"}
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in COMPLETION:
        complete([*commands])
        return
    if name not in commands:
        print("Usage: image-translation <command> <option>=<value> …    (<command> --help lists the options)\n")
        for command, path in commands.items():
            text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            print(f"  {command:10} {text.splitlines()[0]}")
        sys.exit(name not in ("--help", "-h"))
    module = f"image_translation.{name}"
    sys.argv = [module, *sys.argv[2:]]
    runpy.run_module(module, run_name="__main__", alter_sys=True)  # further processes are then started by its name


def complete(commands: list[str]) -> None:
    """Hydra's completion: ``eval "$(image-translation -sc install=bash)"``. It asks for words by ``-sc query=bash``."""
    program, *words = os.environ.get("COMP_LINE", "image-translation train ").split(" ", 2)
    if len(words) < 2:  # the command itself is not complete
        print("\n".join(commands))
    elif words[0] in commands:
        os.environ["COMP_LINE"] = " ".join((program, *words[1:]))
        sys.argv[0] = program
        import_module(f"image_translation.{words[0]}").main()
