"""Text into documents, tokens, exact labels and splits.

`models.corpus.build.build_corpus` is the way in. Nothing is imported here, so that the processes that label documents
start without PyTorch.
"""
