"""No two routes can take the same request, no chat is called what another path begins with, no path or query has a NUL."""

import re

import pytest
from flask import Flask
from werkzeug.routing import Map, Rule

from api.app import create_app
from api.dialects.chatgpt_proxy.reserved import RESERVED
from dev.testing.stack import SECRET_KEY
from shared.config import Settings

DYNAMIC = re.compile(r"<[^>]+>")


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Flask:
    return create_app(Settings(secret_key=SECRET_KEY, data_dir=tmp_path_factory.mktemp("paths")))


def samples(rules: list[Rule]) -> set[str]:
    """Paths that could be meant for several rules: each rule's own, its gaps filled with every word that any rule has."""
    words = {word for rule in rules for word in str(rule).split("/") if word and "<" not in word} | {"x"}
    found = set()
    for rule in rules:
        gaps = DYNAMIC.findall(str(rule))
        for word in words:
            path = str(rule)
            for gap in gaps:
                path = path.replace(gap, word)
            found.add(path)
        for gap in gaps:
            found |= {DYNAMIC.sub("x", str(rule).replace(gap, word)) for word in words}
    return found


def _alone(rule: Rule, converters: dict[str, type]) -> Map:
    return Map([rule.empty()], converters=converters, strict_slashes=False)


def test_no_two_routes_can_take_the_same_request(app: Flask) -> None:
    # A WebSocket is no request of another kind to the same path: the one rule stands beside the other for it alone.
    rules = [rule for rule in app.url_map.iter_rules() if "<path:" not in str(rule) and not rule.websocket]
    alone = [(rule, _alone(rule, app.url_map.converters).bind("h")) for rule in rules]
    clashes = set()
    for path in samples(rules):
        for method in ("GET", "POST", "DELETE"):
            takes = [rule for rule, only in alone if method in (rule.methods or ()) and only.test(path, method)]
            # Where one rule names the path as it stands and another fills a gap with it, the first is meant: werkzeug's own order.
            named = [rule for rule in takes if str(rule) == path]
            if len(named) > 1 or (not named and len(takes) > 1):
                clashes.add(f"{method} {path}: {sorted(map(str, takes))}")
    assert clashes == set()


def test_every_first_segment_is_reserved(app: Flask) -> None:
    first = {str(rule).split("/")[1] for rule in app.url_map.iter_rules()}
    assert {word for word in first if word and not word.startswith("<")} <= RESERVED


def test_nothing_is_looked_for_under_a_path_with_a_nul(app: Flask) -> None:
    client = app.test_client()
    for rule in app.url_map.iter_rules():
        for method in (rule.methods or set()) & {"GET", "POST", "DELETE"}:
            path = DYNAMIC.sub("a%00", str(rule))
            if path != str(rule) and not rule.websocket:
                unknown = 401 if path.startswith("/conversations") else 404  # without a token that dialect says nothing else
                assert (client.open(path, method=method).status_code, path) == (unknown, path)


def test_nothing_is_looked_for_by_a_query_with_a_nul(app: Flask) -> None:
    client = app.test_client()
    for rule in app.url_map.iter_rules():
        path = DYNAMIC.sub("a", str(rule))
        for method in () if rule.websocket else (rule.methods or set()) & {"GET", "POST", "DELETE"}:
            wrong = 401 if path.startswith("/conversations") else 400
            for query in ("x=a%00", "a%00=x"):
                assert (client.open(f"{path}?{query}", method=method).status_code, path) == (wrong, path)
