"""The dispatcher: decode, dispatch, call the command, encode; in the thread that called run(), or beside it."""
