"""Can one say that a provider does not tell when a request has settled? By an empty variable, as the settings say."""

import pytest

from paidonce.app.settings import Settings


@pytest.mark.parametrize(("given", "meant"), [("", None), ("5", 5), (None, 60)])
def test_the_time_after_which_a_provider_has_settled_may_be_empty(
    monkeypatch: pytest.MonkeyPatch, given: str | None, meant: int | None
) -> None:
    monkeypatch.delenv("PAIDONCE_PROVIDER_SETTLES_WITHIN_S", raising=False)
    if given is not None:
        monkeypatch.setenv("PAIDONCE_PROVIDER_SETTLES_WITHIN_S", given)
    assert Settings().provider_settles_within_s == meant
