"""The page: results/report/index.html, one file for a person to read, and to send to another."""
