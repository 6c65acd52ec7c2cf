"""Which addresses may be called at all: one rule for the API, which refuses them, and for the workers, which call them."""

import pytest

from shared.webhooks.addresses import UrlRefused, callable_url


@pytest.mark.parametrize(
    "url",
    [
        *("http://a.example/", "ftp://a.example/", "a.example", "https://", "https:///x", "file:///etc/passwd", ""),
        *("https://user:password@a.example/", "https://user@a.example/", "https://a.example:0/"),
        *("https://a.example/a b", "https://a.example/\u2003", "https://a.example/\n"),
    ],
)
def test_what_must_not_be_called_is_refused(url: str) -> None:
    with pytest.raises(UrlRefused):
        callable_url(url, private=False)


@pytest.mark.parametrize(
    "url", ["https://[::1", "https://a:99999/", "https://a:b/", "https://\u2100.example/", "https://a b.example/"]
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - each parser has words of its own
        callable_url(url, private=False)


@pytest.mark.parametrize("url", ["https://a.example/hook?x=1", "https://a.example:8443/", "https://93.184.215.14/"])
def test_what_may_be_called_is_not(url: str) -> None:
    callable_url(url, private=False)


def test_an_operator_may_allow_private_addresses_and_plain_http() -> None:
    callable_url("http://127.0.0.1:5000/hook", private=True)
