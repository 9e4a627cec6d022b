#!/usr/bin/env python3
"""The command line of fusefs; see fusefs/commands/, or 'mount_tool.py --help'."""

import sys

try:
    from fusefs.commands.main import main
except ImportError as error:
    sys.exit(f"mount_tool.py: {error}; './dev setup' installs all it needs")

if __name__ == "__main__":
    sys.exit(main())
