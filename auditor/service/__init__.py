"""`audit serve`: a small web service that audits uploaded files.  Needs the extra "service"; a leaf of the tree."""
