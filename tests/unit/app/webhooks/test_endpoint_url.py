"""Which addresses a merchant may name at all."""

import pytest

from paidonce.app.errors import UnprocessableError
from paidonce.app.webhooks.endpoints import URL_CHARS_MAX, check_url

GOOD = ["https://a.example", "https://a.example:8443/x?y=z", "https://xn--bcher-kva.example/", "https://9.9.9.9/"]
BAD = [
    "",
    "a.example",
    "//a.example",
    "http://a.example",
    "ftp://a.example",
    "javascript:alert(1)",
    "file:///etc/passwd",
    "https://",
    "https:///path",
    "https://user@a.example",
    "https://user:word@a.example",
    "https://a.example/#x",
    "https://a.example/ x",
    "https://a.example/\r\nX: y",
    "https://a.example/\0",
    "https://bücher.example",
    "https://a.example:99999/",
    "https://a.example:0/",
    "https://a.example:port/",
    "https://[::1",
    "https://1.2.3.999/",
    "https://a.example/" + "x" * URL_CHARS_MAX,
]


@pytest.mark.parametrize("url", GOOD)
def test_good(url) -> None:
    check_url(url, private_addresses=False)


@pytest.mark.parametrize("url", BAD, ids=range(len(BAD)))
def test_bad(url) -> None:
    with pytest.raises(UnprocessableError, match=r"^url: "):
        check_url(url, private_addresses=False)


def test_http_only_where_private_addresses_are_allowed() -> None:
    check_url("http://127.0.0.1:9000/hooks", private_addresses=True)
    with pytest.raises(UnprocessableError):
        check_url("ftp://127.0.0.1/", private_addresses=True)


def test_the_longest_url() -> None:
    head = "https://a.example/"
    check_url(head + "x" * (URL_CHARS_MAX - len(head)), private_addresses=False)
