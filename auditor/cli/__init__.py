"""The command line: parse, call, print, exit.  Nothing here is worth importing by a library user."""
