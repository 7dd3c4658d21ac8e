"""Documents: texts that are kept whole under a name, such as the access policy."""

from __future__ import annotations

import time
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from anabranch.control.store.database import put_row
from anabranch.control.store.schema import documents


class StoredText(NamedTuple):
    """A text, and when it was put there, in Unix seconds."""

    text: str
    updated_at: float


def document(connection: Connection, name: str, hold: bool = False) -> StoredText | None:
    """Return the document of a name; None if there is none.

    ``hold`` keeps other writers out of one that is there until the transaction ends.
    """
    query = sa.select(documents.c.text, documents.c.updated_at).where(documents.c.name == name)
    row = connection.execute(query.with_for_update() if hold else query).one_or_none()
    return None if row is None else StoredText(*row)


def documents_of(connection: Connection, prefix: str) -> list[str]:
    """Return the texts of the documents whose names begin with ``prefix``."""
    named = documents.c.name.startswith(prefix, autoescape=True)
    return list(connection.scalars(sa.select(documents.c.text).where(named)))


def put_document(connection: Connection, name: str, text: str) -> None:
    """Keep a text under a name, in place of the one before; an empty text takes it away."""
    if text:
        put_row(connection, documents, {"name": name}, {"text": text, "updated_at": time.time()})
    else:
        connection.execute(documents.delete().where(documents.c.name == name))


def keep_documents(connection: Connection, prefix: str, names: list[str]) -> None:
    """Remove the documents whose names begin with ``prefix``, but for those named."""
    gone = documents.c.name.startswith(prefix, autoescape=True) & documents.c.name.not_in(names)
    connection.execute(documents.delete().where(gone))
