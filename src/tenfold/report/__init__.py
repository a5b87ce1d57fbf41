"""Reports as HTML pages: of a run, of several runs compared, of a search, of methods compared."""
