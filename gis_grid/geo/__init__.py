"""Pure geography: no database, no settings, no web."""
