"""The transformer ``lookup``: features by entity key from Redis, SQL, Feast, or a feature server.

Keys, conversions and the cache know no store; each store is an adapter of one module. Training sets
are made of the same adapters elsewhere, in ``anabranch.client.features``.
"""

from anabranch.components.features import lookup as lookup
