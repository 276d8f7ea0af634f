"""Cut Minhang's outline into synthetic grids: sources, raster, lines, product; used by script/build_grids only."""
