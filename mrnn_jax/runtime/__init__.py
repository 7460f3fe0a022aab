"""Files, devices, processes, signals: knows nothing of captions."""
