"""The pages, a module for each noun; `table` lists them."""
