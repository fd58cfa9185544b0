"""Circuits: which edges between components a behaviour needs, found and judged."""
