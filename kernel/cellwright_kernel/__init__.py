"""The Cellwright kernel."""
