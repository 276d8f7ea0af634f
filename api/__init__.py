"""The web edge: JSON under /api/v1, pages for people, maps."""
