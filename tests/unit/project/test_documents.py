"""The documents name what the code has: settings, error codes, event types, log events; and their links lead somewhere."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.paths import ROOT
from shared import errors, events
from shared.config import Settings
from shared.errors import ChatrelayError, ConfigurationError
from shared.models.error_codes import JobErrorCode

ROOMS = ("api", "workers", "shared")
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
PROTOCOL = (ROOT / "docs" / "protocol.md").read_text()
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()

LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
CODE_BLOCK = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
FILE_OR_FOLDER = re.compile(r"`((?:api|workers|shared|dev|bench|migrations|tests|docs|bin)/[\w./-]*)`")
WALK = re.compile(r"^## The way of a (\w+)$(.*?)(?=^## )", re.MULTILINE | re.DOTALL)
STEP = re.compile(r"^\d+\. (`[^:\n]+`): ", re.MULTILINE)
MAX_FILES_OF_A_WALK = {"submit": 8, "run": 12, "watch": 6}
"""How many files a newcomer opens to follow it from its entrance to its end."""

EVENT_NAME = re.compile(r"[a-z]+(_[a-z]+)*\.[a-z]+(_[a-z]+)*")
LEVELS = {"info", "warning", "error", "exception", "critical"}


def calls(*rooms: str) -> Iterator[ast.Call]:
    for path in (path for room in rooms for path in sorted((ROOT / room).rglob("*.py"))):
        yield from (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))


def codes_raised(*rooms: str) -> set[str]:
    """Every code that is given by name where an error is made."""
    return {
        keyword.value.value
        for call in calls(*rooms)
        for keyword in call.keywords
        if keyword.arg == "code" and isinstance(keyword.value, ast.Constant) and isinstance(keyword.value.value, str)
    }


def words_spelled(*rooms: str) -> Iterator[tuple[str, str]]:
    """Every text that stands in the code, and the file where it does."""
    for path in (path for room in rooms for path in sorted((ROOT / room).rglob("*.py"))):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value, str(path.relative_to(ROOT))


def codes_of_classes() -> set[str]:
    """Every code that an error has by its class."""
    classes = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, ChatrelayError)]
    return {each.code for each in classes if each is not ConfigurationError}


def log_events(*rooms: str) -> list[str]:
    """Every event that is logged, once for each place; a listener is given the names of its own as `LogEvents`."""
    of_listeners = [
        str(keyword.value.value)
        for call in calls(*rooms)
        if isinstance(call.func, ast.Name) and call.func.id == "LogEvents"
        for keyword in call.keywords
        if isinstance(keyword.value, ast.Constant)
    ]
    return of_listeners + [
        str(call.args[0].value)
        for call in calls(*rooms)
        if isinstance(call.func, ast.Attribute)
        and call.func.attr in LEVELS
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id == "log"
        and isinstance(call.args[0], ast.Constant)
    ]


def walks() -> dict[str, list[list[str]]]:
    """Each walk of docs/architecture.md: of each numbered step its file, then the names to read in it."""
    return {name: [re.findall(r"`([^`]+)`", step) for step in STEP.findall(text)] for name, text in WALK.findall(ARCHITECTURE)}


def definitions(path: Path) -> set[str]:
    """The functions and classes of a module, and the methods of its classes as `Class.method`."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    top = [node for node in ast.parse(path.read_text()).body if isinstance(node, kinds)]
    methods = {
        f"{each.name}.{node.name}"
        for each in top
        for node in each.body
        if isinstance(each, ast.ClassDef) and isinstance(node, kinds)
    }
    return {node.name for node in top} | methods


def missing(words: set[str], document: str) -> list[str]:
    return sorted(word for word in words if f"`{word}`" not in document)


def anchors(document: Path) -> set[str]:
    """The names of a document's headings, as GitHub makes them."""
    headings = HEADING.findall(CODE_BLOCK.sub("", document.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_operators_find_every_setting() -> None:
    # That each is in .env.example too is for test_config to see.
    assert missing({name.upper() for name in Settings.model_fields} | {"FLOWER_BASIC_AUTH"}, OPERATIONS) == []


def test_the_operators_find_every_log_event() -> None:
    assert missing(set(log_events(*ROOMS)), OPERATIONS) == []


def test_no_two_places_log_the_same_event() -> None:
    assert [event for event, places in Counter(log_events(*ROOMS)).items() if places > 1] == []


def test_every_log_event_has_a_noun_and_says_what_happened() -> None:
    assert [event for event in log_events(*ROOMS) if not EVENT_NAME.fullmatch(event)] == []


def test_the_protocol_has_every_error_code() -> None:
    assert missing(codes_of_classes() | codes_raised(*ROOMS) | set(JobErrorCode), PROTOCOL) == []


def test_the_error_codes_of_jobs_are_spelled_in_one_place() -> None:
    # Some of the words mean something else as well: why an answer is restarted, a type of errors, a reason to stop.
    others = {JobErrorCode.WORKER_LOST, JobErrorCode.DRAINED, JobErrorCode.PROVIDER_ERROR, JobErrorCode.INTERNAL_ERROR}
    codes = set(JobErrorCode) - others
    assert {path for word, path in words_spelled(*ROOMS) if word in codes} == {"shared/models/error_codes.py"}


def test_the_protocol_has_every_event_type_and_reason() -> None:
    types = {events.STARTED, events.DELTA, events.RESTARTED, *events.TERMINAL}
    reasons = {events.WORKER_LOST, events.PROVIDER_ERROR, events.DRAINED, events.LOG_LOST}

    assert missing(types | reasons, PROTOCOL) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    broken = []
    for link in LINK.findall(CODE_BLOCK.sub("", document.read_text())):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)

    assert broken == []


def test_the_map_names_what_exists() -> None:
    assert [name for name in FILE_OR_FOLDER.findall(ARCHITECTURE) if not (ROOT / name).exists()] == []


def test_the_map_has_every_room() -> None:
    rooms = {str(path.parent.relative_to(ROOT)) for room in ROOMS for path in (ROOT / room).glob("*/__init__.py")}

    assert [room for room in sorted(rooms) if f"`{room}/`" not in ARCHITECTURE] == []


@pytest.mark.parametrize("name", MAX_FILES_OF_A_WALK)
def test_a_walk_names_what_exists_and_is_short(name: str) -> None:
    steps = walks()[name]
    files = {file for file, *_ in steps}
    absent = [f"{file}: {each}" for file, *names in steps for each in names if each not in definitions(ROOT / file)]

    assert absent == []
    assert [file for file in files if not (ROOT / file).is_file()] == []
    assert 0 < len(files) <= MAX_FILES_OF_A_WALK[name]
