"""Formats of files of rows: Parquet, CSV and JSON lines, read by chunk and written by part."""
