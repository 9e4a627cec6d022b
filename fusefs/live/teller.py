"""A small process that writes to /dev/fuse what the kernel is to drop.

Such a write(2) waits, beyond the reach of signals, for pages that only the daemon's answers
unlock.  Were it a thread of the daemon, a daemon that is killed meanwhile could not end: the
thread would keep /dev/fuse open, so that the kernel would go on waiting for answers.  This
process sees that the daemon has ended, and refuses in its place whatever is still asked.

    start       the daemon's side: a socket that takes packets and gives replies
    main        the process: threads that write, and one that watches

A packet is a number and messages for /dev/fuse; a reply is that number and an errno, or 0.
This file is run by itself: it imports nothing of fusefs.

Errors: OSError from start, if /dev/fuse cannot be opened once more.
"""

import errno
import fcntl
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from contextlib import suppress

MESSAGE = struct.Struct("=IiQQqq")
"""fuse_out_header (length, notification, 0), fuse_notify_inval_inode_out (ino, pos, length)."""

NUMBER = struct.Struct("=Q")
REPLY = struct.Struct("=Qi")

MESSAGES_MAX = 1000
PACKET_MAX = NUMBER.size + MESSAGES_MAX * MESSAGE.size

THREADS = 4
"""So that a file of which much is written back does not keep others waiting."""

CLONE = 0x8004E500
"""FUSE_DEV_IOC_CLONE: one more /dev/fuse of the same connection."""

HEADER = struct.Struct("=IIQ")
"""Of a request, fuse_in_header: length, what it is, its number."""

REFUSAL = struct.Struct("=IiQ")
"""fuse_out_header alone."""

REQUEST_MAX = 1 << 21
ENDING_LOOK_MS = 10


def start(device: int) -> socket.socket:
    """device is the session's /dev/fuse.  The process ends when the socket is closed."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    clone = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        fcntl.ioctl(clone, CLONE, struct.pack("=I", device))
        subprocess.Popen(
            [sys.executable, "-I", __file__, str(theirs.fileno()), str(clone)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            pass_fds=(theirs.fileno(), clone),
            start_new_session=True,
        )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
        os.close(clone)
    return ours


def main(connection: socket.socket, device: int) -> None:
    """Until the daemon has ended, and nothing waits for its answers any more."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    threads = [threading.Thread(target=tell, args=(connection, device)) for _ in range(THREADS)]
    for thread in threads:
        thread.daemon = True
        thread.start()
    hangup = select.poll()
    hangup.register(connection, 0)
    hangup.poll()
    requests = select.poll()
    requests.register(device, select.POLLIN)
    while any(thread.is_alive() for thread in threads):
        if requests.poll(ENDING_LOOK_MS) and not refuse(device):
            break
    os._exit(0)


def tell(connection: socket.socket, device: int) -> None:
    """One thread: write the messages of each packet, and say when that is done."""
    with suppress(OSError):  # the daemon has ended
        while packet := connection.recv(PACKET_MAX):
            failed = 0
            for at in range(NUMBER.size, len(packet), MESSAGE.size):
                try:
                    os.write(device, packet[at : at + MESSAGE.size])
                except OSError as error:
                    failed = error.errno or errno.EIO
            connection.send(REPLY.pack(*NUMBER.unpack_from(packet), failed))


def refuse(device: int) -> bool:
    """Answer the next request, if there is one, as the kernel would; false at the end."""
    try:
        number = HEADER.unpack_from(os.read(device, REQUEST_MAX))[2]
        os.write(device, REFUSAL.pack(REFUSAL.size, -errno.ECONNABORTED, number))
    except OSError as error:
        return error.errno != errno.ENODEV
    return True


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))
