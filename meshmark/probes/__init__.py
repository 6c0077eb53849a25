"""Parsers of counters: text that a kernel or a proxy prints -> numbers. Pure; who reads the text is elsewhere."""
