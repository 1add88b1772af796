"""Records of runs as files: published beside a table, checked, and imported into a store."""
