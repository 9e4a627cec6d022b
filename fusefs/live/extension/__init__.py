"""The extension: requests without pyfuse3's coroutines, in C; three are left to it.

It is imported with RTLD_GLOBAL, and before anything can import pyfuse3: the dynamic linker then
finds its functions before libfuse's own.  See docs/design.md, "The extension".
"""

import os
import sys

_flags = sys.getdlopenflags()
sys.setdlopenflags(os.RTLD_NOW | os.RTLD_GLOBAL)
try:
    from fusefs.live.extension import _lowlevel as _lowlevel
finally:
    sys.setdlopenflags(_flags)
