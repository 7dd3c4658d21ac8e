"""Protocols beside Open Inference, a folder each: bodies become requests of the core, and back.

Which requests are valid and which answers they get is decided by the core alone.
"""
