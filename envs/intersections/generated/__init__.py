"""Generated road networks: grids, towns and single junctions."""
