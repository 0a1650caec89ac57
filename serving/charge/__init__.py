"""Control of a site: roles of policies, their controllers, automatic rollback, commands by hand, and saved state."""
