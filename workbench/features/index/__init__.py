"""An index as it lies in a run's folder, and reading it feature by feature."""
