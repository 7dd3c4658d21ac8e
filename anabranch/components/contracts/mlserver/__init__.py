"""MLServer's contract of components: classes derived from its ``MLModel``; no server is here.

The facts are those of SeldonIO/MLServer at 1.7.1: ``mlserver/model.py``, ``mlserver/settings.py``,
``mlserver/registry.py`` and ``mlserver/codecs``. The requests that a component gets are the
package's own, which is imported where such a component is loaded.
"""
