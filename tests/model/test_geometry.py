"""Sizes and the arithmetic between bytes, sectors, blocks and pages."""

import pytest
from model.driving import GEOMETRIES, geometry_id

from fusefs.model.geometry import PAGE_SIZE_MAX, Geometry


@pytest.mark.parametrize("sizes", GEOMETRIES, ids=geometry_id)
def test_geometries_of_real_machines_are_taken(sizes):
    """(G1) sector <= block_size <= page_size, whatever the machine's own page is."""
    geometry = Geometry(*sizes)
    assert geometry.blocks_per_page == sizes[1] // sizes[0]
    assert geometry.page_mask.bit_count() == geometry.blocks_per_page


@pytest.mark.parametrize(
    ("block_size", "page_size", "reason"),
    [
        pytest.param(256, 4096, "256 is not a power of two", id="block below a sector"),
        pytest.param(1000, 4096, "1000 is not a power of two", id="block 1000"),
        pytest.param(0, 4096, "0 is not a power of two", id="block 0"),
        pytest.param(512, 12288, "12288 is not a power of two", id="page 12k"),
        pytest.param(512, 2 * PAGE_SIZE_MAX, "from 512 to 1048576", id="page above 1m"),
        pytest.param(8192, 4096, "block_size 8192 is larger than page_size 4096", id="block>page"),
    ],
)
def test_sizes_that_break_the_rule_are_refused(block_size, page_size, reason):
    """(G1) and the message says which."""
    with pytest.raises(ValueError, match=reason):
        Geometry(block_size, page_size)


@pytest.mark.parametrize(
    ("pos", "length", "blocks", "pages"),
    [
        pytest.param(0, 1, (0, 1), (0, 1), id="1@0"),
        pytest.param(1023, 1, (0, 1), (0, 1), id="1@1023"),
        pytest.param(1023, 2, (0, 2), (0, 1), id="2@1023"),
        pytest.param(4095, 2, (3, 5), (0, 2), id="2@4095"),
        pytest.param(4096, 4096, (4, 8), (1, 2), id="4096@4096"),
        pytest.param(4096, 0, (4, 4), (1, 1), id="0@4096"),
    ],
)
def test_a_range_covers_every_block_and_page_that_it_touches(pos, length, blocks, pages):
    geometry = Geometry(1024, 4096)
    assert geometry.block_range(pos, length) == blocks
    assert geometry.page_range(pos, length) == pages


@pytest.mark.parametrize(
    ("start", "end", "bits"),
    [
        pytest.param(0, 4096, 0b1111, id="whole page"),
        pytest.param(0, 1, 0b0001, id="1@0"),
        pytest.param(1023, 1025, 0b0011, id="2@1023"),
        pytest.param(1024, 3072, 0b0110, id="2048@1024"),
        pytest.param(4095, 4096, 0b1000, id="1@4095"),
        pytest.param(2048, 2048, 0b0000, id="0@2048"),
    ],
)
def test_block_bits_are_those_of_the_blocks_touched(start, end, bits):
    assert Geometry(1024, 4096).block_bits(start, end) == bits
