"""What the service costs and bears: ticks beside empty requests, loops, many clients, long runs, nonsense."""
