#!/usr/bin/env python3
"""The command line of fusefs; see fusefs/commands/, or 'mount_tool.py --help'."""

import sys

REQUIRED = ("bitarray", "pyfuse3", "rich", "trio")
"""As in setup.cfg."""


def main() -> int:
    """Run a command; returns the exit status."""
    try:
        from fusefs.commands.main import main

        return main()
    except ImportError as error:
        print(f"mount_tool.py: {why_not(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # while it imports; commands end by themselves
        return 130


def why_not(error: ImportError) -> str:
    """What this Python lacks, and where it is.

    The error itself may name a module in which nothing is wrong: compiled modules import each
    other, and call one circular that ended in the middle.
    """
    from importlib.util import find_spec
    from pathlib import Path

    missing = [name for name in REQUIRED if find_spec(name) is None]
    if missing:
        what = f"{sys.executable} lacks {', '.join(missing)}"
    elif "import name '_lowlevel'" in str(error):
        what = f"the extension is not built for {sys.executable}"
    else:
        what = str(error)
    here = Path(__file__).resolve().parent
    environment = here / ".venv"
    if Path(sys.prefix).resolve() != environment and (environment / "stamp").exists():
        return f"{what}; run '. {environment}/bin/activate' first"
    if (here / "dev").exists():
        return f"{what}; run '{here}/dev setup' first"
    return f"{what}; run '{sys.executable} -m pip install fusefs' again"


if __name__ == "__main__":
    sys.exit(main())
