"""The shapes of what a request for a response is made of: tools, formats, reasoning."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from api.dialects.openai.unknown import Open, WithoutEffect
from api.http.bodies import Body
from api.schemas.chat import FunctionTool
from shared.json_types import JsonObject
from shared.models.conversation import NAME_CHARS


class Named(Open):
    """Something that has an id."""

    id: str = Field(min_length=1, max_length=NAME_CHARS)


class Tool(FunctionTool, Open):
    """A function that the model may call."""

    type: Literal["function"]


class HostedTool(WithoutEffect):
    """A tool of another kind. Those that OpenAI runs itself nobody would run here, so that it is ignored."""

    type: str = Field(min_length=1)


def _tool_kind(tool: Any) -> str:
    kind = tool.get("type") if isinstance(tool, dict) else getattr(tool, "type", None)
    return "function" if kind == "function" else "hosted"


AnyTool = Annotated[Annotated[Tool, Tag("function")] | Annotated[HostedTool, Tag("hosted")], Discriminator(_tool_kind)]


class ToolChoice(Open):
    """The one function to call."""

    type: Literal["function"]
    name: str


class TextFormat(Body):
    """Free text."""

    type: Literal["text"]


class ObjectFormat(Body):
    """Any JSON object."""

    type: Literal["json_object"]


class SchemaFormat(Body):
    """JSON by a schema."""

    type: Literal["json_schema"]
    name: str = Field(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9_-]+$")
    json_schema: JsonObject = Field(alias="schema")
    description: str | None = None
    strict: bool | None = None


class Text(Body):
    """How the text is to be."""

    format: Annotated[TextFormat | ObjectFormat | SchemaFormat, Field(discriminator="type")] | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class Reasoning(Body):
    """How much to think. Summaries are the model's to give; none can be ordered."""

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None


class StreamOptions(Body):
    """How to stream. Nothing is ever obfuscated."""

    include_obfuscation: bool | None = None
