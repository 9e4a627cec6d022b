"""POSIX ACLs: what Linux's fs/posix_acl.c does, over their form as an xattr.

The kernel decides who may do what: it gets an ACL by getxattr and keeps it.  What is stored,
and how ACL and mode agree, is decided here:

    decode             an xattr's value, if it is an ACL
    Acl.with_mode      the ACL after a chmod
    Acl.inherit        the ACL of a new file, where this is its directory's default ACL

A mode has three classes of bits.  Owner and others are entries of the ACL; the group's
bits are the mask, which limits all other entries, or the owning group's entry if there is
no mask.

Errors: FsError(EINVAL) for bytes that are no ACL.
Invariants:
    (A1) a stored access ACL and its inode's mode agree in all nine permission bits;
    (A2) an ACL that says no more than a mode is not stored.
"""

import errno
import struct
from dataclasses import dataclass
from typing import NamedTuple

from fusefs.model.errors import FsError

ACCESS = b"system.posix_acl_access"
DEFAULT = b"system.posix_acl_default"

VERSION = 2
NO_ID = 0xFFFFFFFF
PERMISSIONS = 0o777

USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20

_HEADER = struct.Struct("<I")
_ENTRY = struct.Struct("<HHI")
_FOLLOWS = {
    None: (USER_OBJ,),
    USER_OBJ: (USER, GROUP_OBJ),
    USER: (USER, GROUP_OBJ),
    GROUP_OBJ: (GROUP, MASK, OTHER),
    GROUP: (GROUP, MASK),
    MASK: (OTHER,),
    OTHER: (),
}
"""Which tag may come after which."""


class Entry(NamedTuple):
    """What one class, user or group may do: permissions are three bits; NO_ID if it has none."""

    tag: int
    permissions: int
    id: int = NO_ID


@dataclass(frozen=True, slots=True)
class Acl:
    """A list of entries that is valid: see decode()."""

    entries: tuple[Entry, ...]

    @property
    def mode(self) -> int:
        """The nine permission bits that agree with it (A1)."""
        by_tag = {entry.tag: entry.permissions for entry in self.entries}
        group = by_tag.get(MASK, by_tag[GROUP_OBJ])
        return by_tag[USER_OBJ] << 6 | group << 3 | by_tag[OTHER]

    @property
    def is_minimal(self) -> bool:
        """It says no more than a mode (A2)."""
        return len(self.entries) == 3

    def with_mode(self, mode: int) -> "Acl":
        """The same list, with the classes of a mode: posix_acl_chmod()."""
        group = MASK if any(entry.tag == MASK for entry in self.entries) else GROUP_OBJ
        classes = {USER_OBJ: mode >> 6 & 7, group: mode >> 3 & 7, OTHER: mode & 7}
        return Acl(
            tuple(e._replace(permissions=classes.get(e.tag, e.permissions)) for e in self.entries)
        )

    def inherit(self, mode: int) -> tuple[int, "Acl"]:
        """Mode and ACL of what is made with this mode where this is the default ACL.

        posix_acl_create(): neither may grant what the other does not; there is no umask.
        """
        mode &= self.mode | ~PERMISSIONS
        return mode, self.with_mode(mode)

    def encode(self) -> bytes:
        """The value of its xattr."""
        return _HEADER.pack(VERSION) + b"".join(_ENTRY.pack(*entry) for entry in self.entries)


def decode(value: bytes) -> Acl:
    """The ACL in an xattr: posix_acl_from_xattr() and posix_acl_valid()."""
    if len(value) < _HEADER.size or (len(value) - _HEADER.size) % _ENTRY.size:
        raise FsError(errno.EINVAL)
    if _HEADER.unpack_from(value)[0] != VERSION:
        raise FsError(errno.EOPNOTSUPP)
    entries = tuple(Entry(*fields) for fields in _ENTRY.iter_unpack(value[_HEADER.size :]))
    last, needs_mask = None, False
    for tag, permissions, owner in entries:
        named = tag in (USER, GROUP)
        if tag not in _FOLLOWS[last] or permissions > 7 or (named and owner == NO_ID):
            raise FsError(errno.EINVAL)
        if tag == OTHER and needs_mask and last != MASK:
            raise FsError(errno.EINVAL)
        needs_mask |= named
        last = tag
    if last != OTHER:
        raise FsError(errno.EINVAL)
    return Acl(tuple(e if e.tag in (USER, GROUP) else e._replace(id=NO_ID) for e in entries))
