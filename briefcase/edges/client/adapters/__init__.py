"""Agent frameworks on the boundary, one small module each, which imports its framework: no dependency of ours."""
