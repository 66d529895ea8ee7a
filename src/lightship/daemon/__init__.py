"""The server as a process: its data directory and lock, where it says what it is, starting and stopping it."""
