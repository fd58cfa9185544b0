"""Speed and size, measured beside named peers or physical limits in one run; `make bench` prints the table."""
