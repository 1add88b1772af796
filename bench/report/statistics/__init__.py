"""The statistics of tables: intervals, and the test behind better and worse."""
