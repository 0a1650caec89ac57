"""Dial-a-ride problems with all requests known beforehand: read, searched, and solved exactly.

The reference for what is best possible. Unlike in the fleet's kernel, which answers requests as they come in and starts
every leg as soon as it can, riders may be picked up later than possible, and drop-offs have windows.
"""
