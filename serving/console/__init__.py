"""The operator's console: a page at ``/``, and the data that it needs beyond what control systems ask for."""
