"""From a FUSE request to a coroutine of the model or a call of the store, and back.

data                     reads and writes: what has to be fast
names  attributes        lookup, stat, create, unlink
open_files               open files, and what changes a file as a whole
operations               the rest, through pyfuse3's handlers
control                  the files of .fusefs
sync                     fsync and syncfs
atime  answer            when a read is noted; errors as answers
"""

from fusefs import compiled

__path__ = compiled.path(__path__, "live/requests")
