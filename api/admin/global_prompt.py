"""The global prompt: what new chats begin with, where the operator has set it."""

from sqlalchemy.exc import IntegrityError

from shared.database import Database
from shared.models import Setting
from shared.models.setting import GLOBAL_PROMPT


class GlobalPrompt:
    """The one row that holds the global prompt."""

    def __init__(self, database: Database) -> None:
        """Keep the database."""
        self._database = database

    def read(self) -> str | None:
        """Return the global prompt; None where there is none."""
        with self._database.read() as session:
            setting = session.get(Setting, GLOBAL_PROMPT)
        return setting.value or None if setting else None

    def write(self, prompt: str) -> None:
        """Change the global prompt; an empty one clears it. Of two first changes at the same moment, one counts."""
        try:
            with self._database.write() as session:
                setting = session.get(Setting, GLOBAL_PROMPT)
                if setting is None:
                    session.add(Setting(name=GLOBAL_PROMPT, value=prompt))
                else:
                    setting.value = prompt
        except IntegrityError:
            return  # another request's row was written in between, and counts
