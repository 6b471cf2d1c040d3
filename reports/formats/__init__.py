"""Text formats of a report: terminal, Markdown, LaTeX, JSON and CSV."""
