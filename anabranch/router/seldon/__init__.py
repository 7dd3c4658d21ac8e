"""Seldon Core v1's messages: requests, answers, rewards and errors; no transport.

Facts are from SeldonIO/seldon-core at v1.17.1: ``proto/prediction.proto``, ``executor/api`` and the
Python wrapper in ``python/seldon_core``.
"""
