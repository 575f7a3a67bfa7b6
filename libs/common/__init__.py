"""A namespace of nouns: each module has at least two callers. README.md shows how each is used."""
