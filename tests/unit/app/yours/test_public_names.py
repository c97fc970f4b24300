"""What is to be had from `import paidonce`? Every name that it says, imported when it is asked for, and no other."""

import subprocess
import sys

import pytest

import paidonce


@pytest.mark.parametrize("name", paidonce.__all__)
def test_a_public_name_has_a_home(name: str) -> None:
    assert getattr(paidonce, name) is getattr(paidonce, name)


def test_no_home_is_forgotten() -> None:
    assert sorted(paidonce.HOMES) == sorted(paidonce.__all__)


def test_another_name_is_said_not_to_be_there() -> None:
    with pytest.raises(AttributeError, match=r"module 'paidonce' has no attribute 'charge'"):
        paidonce.charge  # noqa: B018  the look is what is tried


def test_the_package_alone_brings_no_database_along() -> None:
    asked = "import sys, paidonce; sys.exit('sqlalchemy' in sys.modules or 'fastapi' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", asked], check=False).returncode == 0
