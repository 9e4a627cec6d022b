"""What outlives a mount: the image, the metadata beside it, and the commit that keeps them in step.

Neither trio nor pyfuse3 is needed here: mkfs and fsck work where neither is.

    image_file  new_image               the image: bytes at addresses; a new one
    metadata_file  metadata             the SQLite file; the transaction that is open
    stored  stored_blocks               what rows look like: attributes; maps and free blocks
    node  inode_rows  nodes             an inode in memory; its row, which waits; all of them
    dentries  namespace                 names as they are stored; what system calls on names do
    xattr_table  xattrs                 the same for extended attributes
    permissions  acl  callers           who may do what; modes, ACLs, what is known of a caller
    health                              whether anything may be committed still
    deleted                             the life of a file without a name
    volume                              all of it, opened; commit
    fsck/                               checks all of it, and repairs what needs no guess
    mount_table  holders                who has an image, and where
"""

from fusefs import compiled

__path__ = compiled.path(__path__, "store")
