"""Requests of one node gathered into batches; batches that a client sends are left as they are."""
