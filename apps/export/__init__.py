"""A run as a site of files: chosen features and views, which a browser opens from disk, without server and network."""
