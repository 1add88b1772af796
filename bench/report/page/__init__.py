"""The page of a report: one file without a server or a request."""
