"""Names that are measured: the concept that each column detects best, judged on documents held out."""
