"""Offline preparation: raw captions, splits and features to one dataset."""
