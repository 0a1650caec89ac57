"""Dial-a-ride problems in which all requests are known beforehand: read, solved, and solved exactly.

Here a service is measured against what is known to be best. Unlike the fleet's kernel, which answers requests as they
come and starts every leg as soon as it can, riders may be picked up later than possible, and drop-offs have windows.
"""
