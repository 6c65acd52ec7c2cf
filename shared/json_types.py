"""The types of JSON values."""

from typing import Any

JsonObject = dict[str, Any]
