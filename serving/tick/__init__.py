"""The steps of one tick through a site: asked, checked, decided, guarded, answered, reported."""
