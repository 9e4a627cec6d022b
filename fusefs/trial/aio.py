"""libaio without libaio: glibc has none of its system calls.

    AioContext.submit    a write that returns once it is submitted
    AioContext.wait      for any of them to complete

Units: pos is bytes in the file.
Errors: OSError of the system calls; a write that failed is a negative count.
"""

import ctypes
import mmap
import os
import platform

_SETUP, _DESTROY, _SUBMIT, _GETEVENTS = {"x86_64": (206, 207, 209, 208)}.get(
    platform.machine(), (0, 1, 2, 4)
)
_PWRITE = 1

_libc = ctypes.CDLL(None, use_errno=True)


class _Iocb(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_uint64),
        ("key", ctypes.c_uint32),
        ("rw_flags", ctypes.c_uint32),
        ("opcode", ctypes.c_uint16),
        ("priority", ctypes.c_int16),
        ("fd", ctypes.c_uint32),
        ("buffer", ctypes.c_uint64),
        ("length", ctypes.c_uint64),
        ("pos", ctypes.c_int64),
        ("reserved", ctypes.c_uint64),
        ("flags", ctypes.c_uint32),
        ("resfd", ctypes.c_uint32),
    )


class _Event(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_uint64),
        ("iocb", ctypes.c_uint64),
        ("result", ctypes.c_int64),
        ("result2", ctypes.c_int64),
    )


class AioContext:
    """Up to depth writes under way at a time; each is known by a number of the caller's."""

    def __init__(self, depth: int) -> None:
        self._context = ctypes.c_ulong(0)
        self._call(_SETUP, depth, ctypes.byref(self._context))

    def submit(self, number: int, fd: int, buffer: mmap.mmap, pos: int) -> None:
        """Write all of a buffer, which the caller keeps as it is until the write has completed."""
        address = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
        block = _Iocb(
            data=number, opcode=_PWRITE, fd=fd, buffer=address, length=len(buffer), pos=pos
        )
        pointers = (ctypes.POINTER(_Iocb) * 1)(ctypes.pointer(block))
        self._call(_SUBMIT, self._context, ctypes.c_long(1), pointers)

    def wait(self) -> tuple[int, int]:
        """Of a write that has completed, and was not told before: its number, and its count."""
        event = _Event()
        one = ctypes.c_long(1)
        self._call(_GETEVENTS, self._context, one, one, ctypes.byref(event), None)
        return event.data, event.result

    def close(self) -> None:
        """Waits for those that are under way."""
        self._call(_DESTROY, self._context)

    @staticmethod
    def _call(number: int, *arguments: object) -> int:
        result = int(_libc.syscall(ctypes.c_long(number), *arguments))
        if result < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return result
