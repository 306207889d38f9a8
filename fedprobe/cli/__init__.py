"""The command line: parse, call the library, print. Nothing is decided here, and nobody imports it."""
