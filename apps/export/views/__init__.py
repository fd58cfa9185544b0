"""The site's pages, one file a view: each reads a run's artifacts and draws them by the explorer's figures."""
