"""Who is in charge at a site: roles of policies, rollback, commands by hand, and what is kept of them."""
