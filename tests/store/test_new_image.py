"""What mkfs takes as an image, and what it leaves behind if it may not."""

import errno
import os
from pathlib import Path

import pytest

from fusefs.store import new_image
from fusefs.store.image_file import ImageError, ImageInUse
from fusefs.store.new_image import take_image

NO_LOCKS = OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


def fail_to_lock(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def lock(path: str, fd: int) -> int | None:
        raise error

    monkeypatch.setattr(new_image, "lock", lock)


def test_file_that_was_made_and_cannot_be_locked_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a host without locks: a mount took the empty file for an image that is damaged."""
    fail_to_lock(monkeypatch, NO_LOCKS)
    with pytest.raises(ImageError, match="cannot create the image: No locks available"):
        take_image(str(tmp_path / "image"), 1 << 20, 1024)
    assert os.listdir(tmp_path) == []


def test_file_that_was_made_for_too_small_an_image_is_removed(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="too small"):
        take_image(str(tmp_path / "image"), 1024, 1024)
    assert os.listdir(tmp_path) == []


def test_file_that_was_there_before_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "image").touch()
    fail_to_lock(monkeypatch, NO_LOCKS)
    with pytest.raises(ImageError):
        take_image(str(tmp_path / "image"), 1 << 20, 1024)
    assert os.listdir(tmp_path) == ["image"]


def test_file_that_another_mkfs_has_taken_meanwhile_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It found the file as one that holds nothing, and was quicker with the lock."""
    fail_to_lock(monkeypatch, ImageInUse(str(tmp_path / "image"), (0, 0)))
    with pytest.raises(ImageError):
        take_image(str(tmp_path / "image"), 1 << 20, 1024)
    assert os.listdir(tmp_path) == ["image"]
