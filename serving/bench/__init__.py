"""What the service costs and bears: ticks beside empty requests, loops, many clients, long runs, nonsense, riders.

A bench of a room (alarms, audit log, input checks, console) has that room's name.
"""
