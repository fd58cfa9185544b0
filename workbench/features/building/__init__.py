"""Making an index: one pass over a recording, and what is worked out of it for every feature at once."""
