"""Imports ``SeldonDeployment`` of Seldon Core v1; requests of its clients are answered elsewhere.

Facts are those of https://github.com/SeldonIO/seldon-core at ``refs/tags/v1.17.1``: fields of
``operator/apis/machinelearning.seldon.io/v1/seldondeployment_types.go``, checks of
``seldondeployment_webhook.go`` beside it, execution of ``executor/predictor/predictor_process.go``.
Built-in implementations mean what they meant to the engine in Java, at ``refs/tags/v1.5.0``.
"""
