"""Asynchronous direct writes by their system calls: glibc has none of libaio.

Units: pos is bytes in the file.
Errors: OSError.
"""

import ctypes
import mmap
import os
import platform
from collections.abc import Iterable

_SETUP, _SUBMIT, _GETEVENTS = {"x86_64": (206, 209, 208)}.get(platform.machine(), (0, 2, 4))
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


class AioWriter:
    """Writes the same bytes, a whole number of pages, to many places of a file at a time."""

    def __init__(self, fd: int, data: bytes, depth: int) -> None:
        self.length = len(data)
        self._buffer = mmap.mmap(-1, len(data))
        self._buffer[:] = data
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self._buffer))
        self._fd = fd
        self._context = ctypes.c_ulong(0)
        self._call(_SETUP, depth, ctypes.byref(self._context))

    def write(self, positions: Iterable[int]) -> None:
        """Submit a write for each position, and wait for all; OSError if one failed."""
        blocks = [
            _Iocb(
                opcode=_PWRITE, fd=self._fd, buffer=self._address, length=self.length, pos=position
            )
            for position in positions
        ]
        count = len(blocks)
        pointers = (ctypes.POINTER(_Iocb) * count)(*map(ctypes.pointer, blocks))
        submitted = self._call(_SUBMIT, self._context, ctypes.c_long(count), pointers)
        events = (_Event * count)()
        few = ctypes.c_long(submitted)
        self._call(_GETEVENTS, self._context, few, few, events, None)
        for event in events[:submitted]:
            if event.result != self.length:
                raise OSError(-event.result, os.strerror(-event.result))
        if submitted < count:
            raise OSError(f"only {submitted} of {count} writes were accepted")

    @staticmethod
    def _call(number: int, *arguments: object) -> int:
        result = int(_libc.syscall(ctypes.c_long(number), *arguments))
        if result < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return result
