"""What every table shares: the declarative base, column kinds, and names for constraints."""

from enum import StrEnum
from typing import Annotated, Any, ClassVar

from sqlalchemy import JSON, BigInteger, Enum, MetaData, String
from sqlalchemy.orm import DeclarativeBase, mapped_column

from shared.database import now_ms

ID_CHARS = 64
MODEL_CHARS = 255
WORD_CHARS = 32

Id = Annotated[str, mapped_column(String(ID_CHARS))]
PrimaryId = Annotated[str, mapped_column(String(ID_CHARS), primary_key=True)]
Milliseconds = Annotated[int, mapped_column(BigInteger)]
"""A moment: milliseconds since 1970, by the database's clock."""
CreatedMs = Annotated[int, mapped_column(BigInteger, default=now_ms())]
"""The moment of the INSERT."""

_NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


def _values(words: type[StrEnum]) -> list[str]:
    return [word.value for word in words]


def word(words: type[StrEnum]) -> Enum:
    """A column that holds one of a few words, as text, so that a new word needs no migration."""
    return Enum(words, native_enum=False, create_constraint=False, length=WORD_CHARS, values_callable=_values)


class Base(DeclarativeBase):
    """The root of all tables."""

    metadata = MetaData(naming_convention=_NAMES)
    # Plain JSON, also on PostgreSQL: its binary kind refuses the NUL characters that a model may well say.
    type_annotation_map: ClassVar = {dict[str, Any]: JSON(none_as_null=True)}
