"""Settings: the file loader, the shared types and the shipped defaults."""
