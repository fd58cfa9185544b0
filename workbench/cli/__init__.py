"""The `workbench` command: one file a verb."""
