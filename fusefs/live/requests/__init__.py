"""From a FUSE request to a coroutine of the model or a call of the store, and back.

handlers                 all of them, put together
open_files  data         open files; reads and writes: what has to be fast
names  attributes        lookup, stat, create, unlink, rename
directories  xattrs      listings; extended attributes
gated                    these as requests of the driver, while a gate names them
operations               what is left to pyfuse3
control                  the files of .fusefs
sync                     syncfs
atime                    when a read is noted
"""

from fusefs import compiled

__path__ = compiled.path(__path__, "live/requests")
