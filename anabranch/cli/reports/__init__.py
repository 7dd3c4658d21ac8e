"""Texts of the commands, as pure functions of the engine's JSON; nothing is fetched here."""
