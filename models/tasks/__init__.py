"""Tasks whose answer is known, one file each: examples, and the truth about every position of them."""
