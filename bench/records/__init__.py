"""Records of runs as files: published for a table, checked, and imported into a store."""
