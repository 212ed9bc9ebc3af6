"""Training that may be killed, stopped, or run out of disk at any moment, and loses nothing."""
