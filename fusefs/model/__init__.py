"""The model: what Linux does between a request and its blocks, in the kernel's order and words.

It is pure.  It performs nothing and imports nothing outwards: whatever has to be done or waited
for is a step (steps.py), which whoever drives the model carries out.

    steps  locks  geometry  options  errors  errseq    what all use
    orders  order_rows                                 where kernels of the past differ
    footprint                                          what a turn touches, for the search
    chunk  extents  space                              where blocks are, and which are free
    page_cache  readahead  inode  filesystem           what is in memory
    iomap  fill  buffered  mapped  writeback           the paths through the cache
    dio  dio_complete  truncate                        those around it; sizes and holes
    file_io                                            where a request of data enters
"""

from fusefs import compiled

__path__ = compiled.path(__path__, "model")
