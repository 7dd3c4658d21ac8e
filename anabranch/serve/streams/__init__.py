"""The transport for calls between replicas: frames on one connection per caller and replica.

A replica runs a ``CallServer``; a process that calls it has one ``Link`` to it, made by
``connect``. Values cross as msgpack and as the raw bytes of their arrays, never pickled.
"""
