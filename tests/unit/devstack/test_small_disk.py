"""Does a folder get a small file system of its own, and is it gone with its run?"""

import os
from pathlib import Path

import pytest

from paidonce.devstack.runs import Run
from paidonce.devstack.small_disk import NoDiskError, mount, unmount_below


def mounted(folder: Path) -> None:
    try:
        mount(folder, 4)
    except NoDiskError as error:
        pytest.skip(f"nothing can be mounted here: {error}")


def test_it_is_small_and_unmounted_with_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted(folder)
    try:
        assert folder.is_mount()
        free = os.statvfs(folder)
        assert free.f_blocks * free.f_frsize == 4 << 20
    finally:
        unmount_below(tmp_path)
    assert not folder.is_mount()


def test_a_run_leaves_no_mount_behind() -> None:
    with Run() as run:
        folder = run.folder / "postgres"
        folder.mkdir()
        mounted(folder)
        (folder / "file").write_bytes(b"0")
    assert not run.folder.exists()
    assert str(folder) not in Path("/proc/mounts").read_text()


def test_where_nothing_can_be_mounted_it_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoDiskError, match="no file system of its own"):
        mount(tmp_path, 4)
