from __future__ import annotations

from anabranch.control.store.documents import document, keep_documents, put_document
from anabranch.control.store.store import Store


def test_a_text_is_kept_until_another_takes_its_place(store: Store) -> None:
    with store.database.write() as connection:
        assert document(connection, "a") is None
        put_document(connection, "a", "one")
        put_document(connection, "b", "other")
        first = document(connection, "a")
        assert first is not None and first.text == "one"
        put_document(connection, "a", "two")
        second = document(connection, "a")
        assert second is not None and second.text == "two"
        assert second.updated_at >= first.updated_at
        put_document(connection, "a", "")
        assert document(connection, "a") is None
        assert document(connection, "b") is not None


def test_those_of_a_prefix_go_but_for_some(store: Store) -> None:
    with store.database.write() as connection:
        for name in ("keys one", "keys two", "key%s", "other"):
            put_document(connection, name, "text")
        keep_documents(connection, "keys ", ["keys two", "other"])
        left = [name for name in ("keys one", "keys two", "key%s", "other")
                if document(connection, name)]  # fmt: skip
    assert left == ["keys two", "key%s", "other"]
