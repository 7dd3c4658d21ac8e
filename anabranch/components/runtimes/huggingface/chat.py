"""Messages of a chat as the text that a model continues: by the template of its tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anabranch.components.contract import CannotLoad
from anabranch.components.runtimes.completions import objects_in
from anabranch.components.tensors.arrays import Array
from anabranch.components.tensors.texts import as_text
from anabranch.errors import InvalidRequest


def check_template(tokenizer: Any) -> None:
    """Raise CannotLoad where a tokenizer of transformers has no chat template."""
    if not getattr(tokenizer, "chat_template", None):
        raise CannotLoad("the tokenizer has no chat template; use the task text-generation")


def rendered(tokenizer: Any, array: Array, parameters: Mapping[str, Any]) -> str:
    """Return the text of a chat: BYTES [1], a list of messages in JSON; ``tools`` likewise.

    InvalidRequest for what is no such list, and for what the template refuses.
    """
    messages = objects_in("messages", only_text("messages", array))
    tools = objects_in("tools", parameters["tools"]) if parameters.get("tools") else None
    if not messages:
        raise InvalidRequest("messages must hold at least one message")
    try:
        found: str = tokenizer.apply_chat_template(
            messages, tools=tools, add_generation_prompt=True, tokenize=False
        )
    except Exception as error:  # whatever a template makes of messages that it was not made for
        text = " ".join(str(error).split())[:200]
        raise InvalidRequest(f"the chat template refuses the messages: {text}") from None
    return found


def only_text(what: str, array: Array) -> str:
    """Return the one element of BYTES; InvalidRequest for another number of them, or no BYTES."""
    if array.dtype.kind not in "OSU" or array.size != 1:
        raise InvalidRequest(f"{what} must be BYTES of one element, got {list(array.shape)}")
    return str(as_text(array).ravel()[0])
