"""Pages of docs/ that are generated from the data they tell of, and kept true by a test."""
