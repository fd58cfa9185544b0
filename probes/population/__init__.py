"""Population codes: what many neurons say together, decoded with its uncertainty."""
