"""This machine: files, caches, child processes, sockets, what is said once."""
