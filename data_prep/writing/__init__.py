"""Writing: datasets in shards, features in parts, whole or not at all."""
