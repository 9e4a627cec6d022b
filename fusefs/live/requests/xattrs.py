"""Extended attributes: from the extension's calls to the volume's xattrs, and the answer back.

Units: size is bytes, what the caller has room for; 0 asks for the length.
Errors: FsError of a handler is the request's answer.
"""

import errno
import os
import time

from fusefs.live.extension._lowlevel import Request
from fusefs.live.requests.control import Control
from fusefs.model.errors import FsError
from fusefs.store.callers import is_sys_admin, may_keep_setgid
from fusefs.store.volume import Volume
from fusefs.store.xattrs import TRUSTED


class XattrRequests:
    """The handler of the extension for them."""

    def __init__(self, volume: Volume, control: Control) -> None:
        self.volume = volume
        self.xattrs = volume.xattrs
        self.control = control

    def getxattr(self, request: Request, ino: int, name: bytes, size: int) -> None:
        request.reply_xattr(self._value(ino, name), size)

    def _value(self, ino: int, name: bytes) -> bytes:
        if self.control.owns(ino):
            raise FsError(errno.ENODATA)
        return self.xattrs.get(ino, name)

    def setxattr(self, request: Request, ino: int, name: bytes, value: bytes, flags: int) -> None:
        """XATTR_CREATE wants that there is none yet, XATTR_REPLACE that there is one."""
        if self.control.owns(ino):
            raise FsError(errno.EPERM)
        if flags & os.XATTR_CREATE and self._has(ino, name):
            raise FsError(errno.EEXIST)
        if flags & os.XATTR_REPLACE:
            self.xattrs.get(ino, name)
        keeps_setgid = may_keep_setgid(request, self.volume.nodes.get(ino))
        with self.volume.changing:
            self.xattrs.set(ino, name, value, time.time_ns(), keeps_setgid=keeps_setgid)
        request.reply_done()

    def _has(self, ino: int, name: bytes) -> bool:
        try:
            self.xattrs.get(ino, name)
        except FsError as error:
            if error.errno != errno.ENODATA:
                raise
            return False
        return True

    def listxattr(self, request: Request, ino: int, size: int) -> None:
        """Of trusted.* only those learn who may read it."""
        names = [] if self.control.owns(ino) else self.xattrs.names(ino)
        if any(name.startswith(TRUSTED) for name in names) and not is_sys_admin(request):
            names = [name for name in names if not name.startswith(TRUSTED)]
        request.reply_xattr(b"".join(name + b"\0" for name in names), size)

    def removexattr(self, request: Request, ino: int, name: bytes) -> None:
        if self.control.owns(ino):
            raise FsError(errno.EPERM)
        with self.volume.changing:
            self.xattrs.remove(ino, name, time.time_ns())
        request.reply_done()
