"""All that answers requests of one mount, put together."""

from fusefs.live.coherence import Coherence
from fusefs.live.driver import Driver
from fusefs.live.kernel_pages import KernelPages
from fusefs.live.requests.atime import Atime
from fusefs.live.requests.control import CONTROL_INO, Control
from fusefs.live.requests.data import DataRequests
from fusefs.live.requests.directories import DirectoryRequests
from fusefs.live.requests.gated import GatedRequests
from fusefs.live.requests.names import NameRequests
from fusefs.live.requests.open_files import OpenFiles
from fusefs.live.requests.operations import Operations
from fusefs.live.requests.xattrs import XattrRequests
from fusefs.live.timing import Timing
from fusefs.store.volume import Volume


class Handlers:
    """Those that the extension calls, and operations, which pyfuse3 calls."""

    def __init__(
        self,
        volume: Volume,
        driver: Driver,
        timing: Timing,
        control: Control,
        atime: Atime,
        kernel_pages: KernelPages,
        coherence: Coherence,
    ) -> None:
        self.files = OpenFiles(volume, driver, timing, control, kernel_pages)
        self.data = DataRequests(self.files, atime, coherence)
        self.names = NameRequests(volume, self.files, control, atime)
        self.directories = DirectoryRequests(volume, driver, control, atime)
        self.xattrs = XattrRequests(volume, control)
        self.control_ino = CONTROL_INO
        self.operations = Operations(volume, driver, control, kernel_pages)
        self.gated = control.keeper.operations
        self.carry_out = GatedRequests(volume, self.files, control).carry_out
        self.run_ready = driver.run_ready
