"""The operator's console: a page at ``/``, and what it asks of the service beyond what control systems do."""
