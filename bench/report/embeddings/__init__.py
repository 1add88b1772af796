"""The report of an embedding study."""
