from __future__ import annotations

import numpy as np

from anabranch import Graph
from anabranch.router.grpc.codec import decode_request
from anabranch.router.limits import RequestLimits
from anabranch.router.oip.decode import decode_body
from benchmarks.encodings import BINARY, ENCODINGS, GRPC, JSON, LENGTH
from benchmarks.load import Load
from benchmarks.payloads import CASES, CONTENDERS, FLOOR, OURS, PAYLOADS, PEER, SERVERS, table

IMAGE = PAYLOADS[1].tensor()


def loads(*rates: float) -> list[Load]:
    return [Load(p50=1, p99=2, rate=rate, answered=9, failed=0) for rate in rates]


def test_every_encoding_carries_the_tensor() -> None:
    text, binary = JSON.request(IMAGE), BINARY.request(IMAGE)
    length = int(binary.headers[LENGTH])
    over_http = [
        decode_body(body, size, RequestLimits(), tuple)
        for body, size in ((text.body, None), (binary.body, length))
    ]
    over_grpc = decode_request(GRPC.request(IMAGE).body, RequestLimits())
    assert [one.form.is_binary for one in over_http] == [False, True]
    assert not over_grpc.is_typed
    for one in (*over_http, over_grpc):
        assert np.array_equal(one.request.inputs["x"], IMAGE)


def test_the_largest_payload_is_within_the_limits() -> None:
    largest = PAYLOADS[-1]
    assert largest.size == 16 * 2**20
    bodies = [len(one.request(largest.tensor()).body) for one in ENCODINGS]
    assert max(bodies) < RequestLimits().max_body


def test_the_graph_changes_the_sign() -> None:
    graph = Graph.load(SERVERS / "negate" / "graph.yaml")
    assert np.array_equal(graph.run({"x": IMAGE})["y"], -IMAGE)
    graph.close()


def test_the_table_judges_by_the_peer_and_by_the_floor_where_it_has_none() -> None:
    found = {(FLOOR, case): loads(1000) for case in CASES}
    found |= {(OURS, case): loads(10, 30, 30) for case in CASES}
    found |= {(PEER, case): loads(20) for case in CASES if case.encoding not in PEER.lacks}
    found[PEER, CASES[1]] = loads(21)
    found[OURS, CASES[2]] = []
    head, *rows = table(found)
    assert {len(row) for row in rows} == {len(head)}
    assert rows[0][3:] == [
        "1.00 / 2.00, 30/s", "1.00 / 2.00, 20/s", "1.00 / 2.00, 1,000/s", "1.50", "0.03", "met"
    ]  # fmt: skip
    assert rows[1][-3:] == ["1.43", "0.03", "MISSED"]
    assert rows[2][3] == "not measured"
    assert rows[2][-3:] == ["", "", "MISSED"]
    binary = next(row for row in rows if row[0] == BINARY.title and row[1] == "16 MiB")
    assert binary[3:] == [
        "1.00 / 2.00, 480 MiB/s", "has none", "1.00 / 2.00, 16,000 MiB/s", "", "0.03", "MISSED"
    ]  # fmt: skip
    assert [row[-1] for row in rows if row[0] == BINARY.title and row[1] != "16 MiB"] == [""] * 4
    alone = [one for one in CONTENDERS if one is not PEER]
    assert [row[-1] for row in table(found, alone)[1:]] == [""] * 10 + ["MISSED"] * 2 + [""] * 6


def test_every_script_is_there() -> None:
    for one in CONTENDERS:
        assert (SERVERS / one.script).is_file()
