"""Hands out tables that routers go by, and takes in rewards; requests never come here."""
