"""The figures of a score table: each is a module with `figure(table) -> Figure | None`."""
