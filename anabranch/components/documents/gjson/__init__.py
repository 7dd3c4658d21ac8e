"""GJSON (github.com/tidwall/gjson, SYNTAX.md): what is at a path of a JSON document.

Nothing here knows requests or limits. What malformed paths find is the same as in the Go library;
a table of cases with the answers of that library is among the tests.
"""
