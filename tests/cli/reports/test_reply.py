"""Reports on replies."""

from __future__ import annotations

from anabranch.cli.reports.reply import accepted_text, reply_text


def test_a_request_that_is_kept_and_one_that_is_answered_at_once() -> None:
    kept = {"id": "7f", "state": "waiting", "location": "/v2/models/shop/requests/7f"}
    assert accepted_text(kept) == ("request 7f is waiting; its reply: /v2/models/shop/requests/7f")
    output = {"name": "y", "datatype": "FP32", "shape": [1], "data": [2.0]}
    reply = {"model_name": "shop", "model_version": "1", "id": "7f", "outputs": [output]}
    assert accepted_text(reply) == reply_text(reply)
    assert "revision 1, request 7f" in reply_text(reply)
