"""What other programs and people meet."""
