"""Which features of an index are meant, and in which order."""
