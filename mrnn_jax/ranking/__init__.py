"""Sentences x images: log P(sentence | image), and the best of each."""
