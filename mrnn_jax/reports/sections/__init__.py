"""The sections of the results page, each from what a task has written."""
