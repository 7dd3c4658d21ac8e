"""Model files and folders: by path in the bundle, or by URI through a cache on this machine.

``model_path(node, root)`` is all that a runtime needs, or ``model_file`` where it reads one file.
"""
