"""Base models: a hub id, a local folder, or the embedded default in tiny/."""
