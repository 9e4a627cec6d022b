"""The live daemon: real requests, a real image, a real mount.

The extension is imported here, before anything can import pyfuse3, and with RTLD_GLOBAL:
the dynamic linker then finds its functions before libfuse's own.  See docs/design.md,
"The extension".
"""

import os
import sys

from fusefs import compiled

__path__ = compiled.path(__path__, "live")

_flags = sys.getdlopenflags()
sys.setdlopenflags(os.RTLD_NOW | os.RTLD_GLOBAL)
try:
    from fusefs.live import _lowlevel as _lowlevel
finally:
    sys.setdlopenflags(_flags)
