"""A fleet of real vehicles, for booking: the compiled core's arrays, corrected by what vehicles report."""
