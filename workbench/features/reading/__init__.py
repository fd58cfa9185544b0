"""One typed text as a subject and a dictionary read it."""
