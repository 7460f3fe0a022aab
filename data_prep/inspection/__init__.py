"""Inspection: what is in a prepared dataset, as numbers, text and page."""
