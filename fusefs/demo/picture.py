"""The ladder as a page, for a browser.

    write_picture()    to a file that is named, or to a new one

Errors: OSError.
"""

import os
import tempfile

from fusefs.demo.ladder import Ladder
from fusefs.show.html import page


def write_picture(ladder: Ladder, block_size: int, html: str | None) -> str:
    """Its path; a temporary one that is left if none is given.  block_size is bytes."""
    text = page(ladder.story(block_size))
    if html is None:
        number, html = tempfile.mkstemp(prefix="fusefs-demo-", suffix=".html")
        os.close(number)
    with open(html, "w", encoding="utf-8") as file:
        file.write(text)
    return html


def said(path: str) -> str:
    return f"The same to look at, in a browser: {path}"
