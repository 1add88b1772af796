"""Tables of a report in Markdown, read back."""


def rows(text):
    """The cells of each row of all tables, headings and rules included."""
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line] for line in lines]
