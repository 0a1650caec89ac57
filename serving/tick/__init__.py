"""One tick's way through a site: asked, checked, decided, guarded, answered, told."""
