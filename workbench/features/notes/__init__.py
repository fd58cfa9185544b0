"""What people write about features, kept outside the runs."""
