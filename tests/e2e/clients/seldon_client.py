"""Seldon Core's own client against two graphs: argv is the HTTP and the gRPC address.

``team/words`` has one input of texts, which it gives back; ``paid`` doubles numbers by one of two
routes, ``poor`` and ``good``, and learns from rewards which of them is to be taken.
"""

import sys

import numpy as np
from seldon_core.seldon_client import SeldonClient
from seldon_core.utils import get_data_from_proto

ROWS = np.array([[1.5, -2.0], [0.25, 3.0]])
LATEST = 20
"""Predictions in a row that take the better route once the graph has learned it."""
MOST = 600


def client(transport, address, name, namespace, **more):
    return SeldonClient(
        gateway="istio",
        transport=transport,
        gateway_endpoint=address,
        deployment_name=name,
        namespace=namespace,
        client_return_type="proto",
        **more,
    )


def good(found):
    assert found.success, (found.msg, found.response)
    return found.response


def numbers(transport, address):
    for payload in ("tensor", "ndarray"):
        paid = client(transport, address, "paid", "default", payload_type=payload)
        response = good(paid.predict(data=ROWS, names=["a", "b"], meta={"who": "me"}))
        assert response.data.WhichOneof("data_oneof") == payload
        np.testing.assert_array_equal(get_data_from_proto(response), ROWS * 2)
        assert list(response.data.names) == ["a", "b"]
        assert response.meta.puid and response.meta.tags["who"].string_value == "me"
        assert response.meta.routing["pick"] in (0, 1)
        assert response.meta.requestPath["paid"].startswith("paid:")


def texts(transport, address):
    words = client(transport, address, "words", "team")
    assert good(words.predict(str_data="café")).strData == "café"
    assert good(words.predict(bin_data=b"\xff\x00")).binData == b"\xff\x00"
    found = good(words.predict(json_data={"a": [1, None]})).jsonData
    assert found.struct_value.fields["a"].list_value.values[0].number_value == 1


def mistakes(transport, address):
    paid = client(transport, address, "paid", "default")
    wrong = paid.predict(str_data="a")
    assert not wrong.success
    if transport == "rest":
        status = wrong.response.status
        assert (status.code, status.status) == (400, 1) and "data.ndarray" in status.info, status
    else:
        assert "INVALID_ARGUMENT" in wrong.msg and "data.ndarray" in wrong.msg, wrong.msg
    assert not client(transport, address, "nobody", "default").predict(data=ROWS).success


def learns(transport, address):
    paid = client(transport, address, "paid", "default", payload_type="ndarray")
    routes = []
    while len(routes) < LATEST or not all(routes[-LATEST:]):
        assert len(routes) < MOST, routes
        found = paid.predict(data=ROWS)
        route = good(found).meta.routing["pick"]
        told = paid.feedback(found.request, found.response, reward=float(route))
        assert good(told).meta.tags["counted"].bool_value, told.response
        routes.append(route)


def main():
    http, grpc = sys.argv[1:]
    ways = (("rest", http), ("grpc", grpc))
    for way in ways:
        numbers(*way)
        texts(*way)
        mistakes(*way)
    for way in ways:
        learns(*way)
    print("all is well")


main()
