"""Alarms as a control room knows them (ISA-18.2, EEMUA 191): few, each with a priority, seen and gone again."""
