"""Booking of a demand-responsive fleet over HTTP: quotes, bookings and what vehicles report, on the simulator's kernel.

The database is the truth: a booking is confirmed when its row, the vehicle's plan and the answer are written together.
The arrays that the kernel works on are built from it, at the start and whenever somebody else has written to it.
"""
