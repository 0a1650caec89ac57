"""Booking of a demand-responsive fleet over HTTP: quotes, bookings and vehicles' reports, on the simulator's kernel.

The database is the truth: a booking is confirmed when its row, the vehicle's plan and the answer are written together.
The kernel's arrays are built from it, at the start and whenever another process has written to it.
"""
