"""Importer of KServe: InferenceGraph and InferenceService, and the kinds beside them; none other.

Its facts are those of kserve/kserve: ``pkg/apis/serving`` for the fields and what the webhooks
refuse, ``cmd/router/main.go`` for the meaning of a graph, ``python/`` for the model servers.
"""
