"""Count tokens: with tiktoken where its data is cached, else by an estimate. Nothing is downloaded at run time.

tiktoken looks for its data in TIKTOKEN_CACHE_DIR (the image has it there), DATA_GYM_CACHE_DIR or a folder for temporary files, and
would download what is missing, in the middle of a job.
"""

from functools import cache
from typing import NoReturn

import structlog
import tiktoken
import tiktoken.load

from shared.json_types import JsonObject
from shared.messages.text import text_of, text_of_calls
from shared.messages.usage import estimate_tokens

UNKNOWN_MODELS_ENCODING = "o200k_base"
MESSAGE_OVERHEAD_TOKENS = 4
IMAGE_TOKENS = 765
"""What OpenAI counts for an image of 1024 × 1024 pixels in full detail; the size of an image that is only linked to is unknown."""
MAX_COUNTED_CHARS = 200_000
"""A longer text is estimated. Some texts of a million characters, such as blanks, make tiktoken panic."""

log = structlog.get_logger(__name__)


class EncodingNotCached(Exception):
    """The data of an encoding would have to be downloaded."""


def _refuse(blobpath: str) -> NoReturn:
    raise EncodingNotCached(blobpath)


tiktoken.load.read_file = _refuse


def of_message(message: JsonObject, model: str) -> int:
    """Count the tokens of a chat message for a model: its text, its images and its tool calls."""
    parts = message.get("content")
    images = sum(part.get("type") == "image_url" for part in parts) if isinstance(parts, list) else 0
    return of_text(text_of(message) + text_of_calls(message), model) + MESSAGE_OVERHEAD_TOKENS + images * IMAGE_TOKENS


def of_text(text: str, model: str) -> int:
    """Count the tokens of a text for a model. What looks like a special token is ordinary text."""
    encoding = _encoding(_encoding_name(model)) if len(text) <= MAX_COUNTED_CHARS else None
    return len(encoding.encode_ordinary(text)) if encoding else estimate_tokens(text)


def _encoding_name(model: str) -> str:
    try:
        return tiktoken.encoding_name_for_model(model)
    except KeyError:
        return UNKNOWN_MODELS_ENCODING


def _reason(error: Exception) -> str:
    return "its data is not on this machine" if isinstance(error, EncodingNotCached) else str(error)


@cache
def _encoding(name: str) -> tiktoken.Encoding | None:
    try:
        return tiktoken.get_encoding(name)
    except (EncodingNotCached, OSError) as error:
        log.info("tokens.estimated", encoding=name, reason=_reason(error))
        return None
