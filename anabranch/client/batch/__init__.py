"""Batch jobs: files of rows through a graph, each row once, whatever ends on the way.

``source`` reads the input in chunks, ``mapping`` makes tensors of columns, ``asking`` and ``pace``
send them, ``answers`` gathers replies, and ``parts`` keeps a file for each chunk. ``job`` puts it
together. The command line and the engine run the same code.
"""
