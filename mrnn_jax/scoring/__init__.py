"""Batch scoring: files of pairs in, files with log-probabilities out."""
