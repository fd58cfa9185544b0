"""A feature beside others: of another dictionary, of the neurons, on two sets of rows."""
