#!/usr/bin/env python3
"""The command line of fusefs; see fusefs/cli.py, or 'mount_tool.py --help'."""

import sys

try:
    from fusefs.cli import main
except ImportError as error:
    sys.exit(f"mount_tool.py: {error}; './dev setup' installs all it needs")

if __name__ == "__main__":
    sys.exit(main())
