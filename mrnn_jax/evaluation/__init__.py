"""The protocols: what is measured, and the files that it leaves."""
