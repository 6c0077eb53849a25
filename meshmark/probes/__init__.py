"""Parsers of counters: text that a kernel or a proxy prints -> numbers. Pure, but for `host`, which reads it."""
