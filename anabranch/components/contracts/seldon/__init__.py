"""Seldon Core v1's contract of components, as its Python wrapper calls them; no protocol is here.

The facts are those of ``python/seldon_core`` in SeldonIO/seldon-core at v1.17.1: ``user_model.py``,
``seldon_methods.py``, ``utils.py`` and ``metrics.py``.
"""
