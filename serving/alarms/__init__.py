"""Alarms by the rules of control rooms (ISA-18.2, EEMUA 191): few, prioritised, acknowledged, returning."""
