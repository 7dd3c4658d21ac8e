"""The control API: reads calls and writes answers; it changes nothing itself."""
