"""The mechanics of a building: frames, dampers, yielding storeys, fatigue."""
