"""Maps: pure functions from frames to `folium.Map`, rendered with local browser assets only."""
