"""Who watches: forecasts and alarms beside the controllers. A monitor decides nothing about actuators."""
