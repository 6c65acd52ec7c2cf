"""How many tokens a text is: counted by tiktoken where its data is at hand, else estimated. Nothing is downloaded at run time.

tiktoken looks for its data in TIKTOKEN_CACHE_DIR (the image has it there), DATA_GYM_CACHE_DIR or a folder for temporary files, and
would fetch what is missing, in the middle of a job.
"""

from functools import cache
from typing import Any, NoReturn

import structlog
import tiktoken
import tiktoken.load

from shared.messages.answer import estimate_tokens, text_of

UNKNOWN_MODELS_ENCODING = "o200k_base"
MESSAGE_OVERHEAD_TOKENS = 4
IMAGE_TOKENS = 765
"""What OpenAI counts for an image of 1024 × 1024 pixels in full detail; nobody knows the size of one that is only linked to."""
MOST_COUNTED_CHARS = 200_000
"""A longer text is estimated. Some that are a million characters long, such as blanks, make tiktoken panic."""

log = structlog.get_logger(__name__)


class NotAtHand(Exception):
    """The data of an encoding would have to be downloaded."""


def _refuse(blobpath: str) -> NoReturn:
    raise NotAtHand(blobpath)


tiktoken.load.read_file = _refuse


def of_message(message: dict[str, Any], model: str) -> int:
    """Count the tokens of a chat message, as `model` would: its text, its images and the tools it calls."""
    parts = message.get("content")
    images = sum(part.get("type") == "image_url" for part in parts) if isinstance(parts, list) else 0
    called = [call["function"] for call in message.get("tool_calls") or ()]
    text = text_of(message) + "".join(function["name"] + function["arguments"] for function in called)
    return of_text(text, model) + MESSAGE_OVERHEAD_TOKENS + images * IMAGE_TOKENS


def of_text(text: str, model: str) -> int:
    """Count the tokens of a text. What looks like a special token is ordinary text."""
    encoding = _encoding(_encoding_name(model)) if len(text) <= MOST_COUNTED_CHARS else None
    return len(encoding.encode_ordinary(text)) if encoding else estimate_tokens(text)


def _encoding_name(model: str) -> str:
    try:
        return tiktoken.encoding_name_for_model(model)
    except KeyError:
        return UNKNOWN_MODELS_ENCODING


@cache
def _encoding(name: str) -> tiktoken.Encoding | None:
    try:
        return tiktoken.get_encoding(name)
    except (NotAtHand, OSError) as error:
        log.info("tokens.estimated", encoding=name, error=str(error))
        return None
