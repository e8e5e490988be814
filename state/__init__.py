"""What is made at run time: API keys."""
