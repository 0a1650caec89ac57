"""What a run leaves on disk: its folder, ``config.yaml``, metrics of its progress."""
