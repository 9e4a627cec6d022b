"""When the checker of a mount compares, over the real daemon without a mount."""

from pathlib import Path

from crash.failing import Daemon

from fusefs.live.kernel_pages import PAGE_SIZE
from fusefs.model.options import Options
from fusefs.store.volume import make_image


async def test_checker_that_begins_while_the_kernel_is_told_of_a_truncate_compares(tmp_path: Path):
    """It waits for the requests that were under way when it began; that is none of them."""
    image = tmp_path / "image"
    make_image(str(image), f"{image}.meta", Options(size=1 << 20))
    async with Daemon.on(image) as daemon:
        ino, fh = await daemon.create(b"mapped")
        await daemon.write(ino, fh, 0, b"x" * 100)
        await daemon.fsync(fh)
        inode = daemon.files.handles[fh].file.inode
        daemon.files.kernel_pages.filled(inode, 0, PAGE_SIZE)
        await daemon.truncate(ino, 200)  # which nobody tells the kernel of, in this test
        fs, coherence = daemon.volume.fs, daemon.control.coherence
        fs.set_options(fs.options.changed("check", "report"))
        coherence.follow()
        await daemon.fsync(fh)
        await daemon.read(ino, fh, 0, 200)
        assert coherence.checker.counts.requests_awaited == 0
        assert coherence.checker.counts.pages_compared == 1
