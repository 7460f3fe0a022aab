"""The words, and prepared datasets -> batches."""
